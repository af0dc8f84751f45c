# The Metal kernels: their text, made a part of the module, and their host. Sets metal_sources, metal_definitions
# and metal_libraries; leaves them empty where this is no Mac with an Apple GPU and JAXINV_METAL is AUTO.
#
# JAXINV_METAL=FAKE: for tests on other machines, a device that runs the kernels on the emulator of tests/cpp/msl.

if(JAXINV_METAL STREQUAL "FAKE" AND NOT APPLE)
  message(STATUS "Metal kernels: on a fake device, for tests only")
elseif(NOT APPLE OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "arm64|aarch64")
  if(JAXINV_METAL STREQUAL "ON")
    message(FATAL_ERROR "JAXINV_METAL=ON: this is no Mac with an Apple GPU")
  endif()
  message(STATUS "No Metal kernels: this is no Mac with an Apple GPU")
  return()
endif()

file(GLOB metal_kernels RELATIVE "${CMAKE_SOURCE_DIR}" CONFIGURE_DEPENDS metal/*.metal)
file(GLOB metal_headers CONFIGURE_DEPENDS metal/*.h core/*.h)
set(flatten "${CMAKE_SOURCE_DIR}/cmake/flatten_metal.py")
function(jaxinv_metal_text result)
  add_custom_command(OUTPUT "${result}"
    COMMAND "${Python_EXECUTABLE}" "${flatten}" "${CMAKE_SOURCE_DIR}" "${result}" ${metal_kernels}
    DEPENDS "${flatten}" ${metal_kernels} ${metal_headers} COMMENT "Metal text" VERBATIM)
endfunction()
jaxinv_metal_text("${CMAKE_BINARY_DIR}/metal_library.cc")
set(metal_sources metal/buffers.cc metal/device.cc metal/dispatch.cc metal/launch.cc
  "${CMAKE_BINARY_DIR}/metal_library.cc")
set(metal_definitions JAXINV_HAS_METAL)
if(APPLE)
  set(metal_libraries "-framework Metal" "-framework Foundation" objc)
  return()
endif()

# The text that a Mac compiles at run time, compiled as C++.
jaxinv_metal_text("${CMAKE_BINARY_DIR}/metal_library.metal")
set_property(SOURCE "${CMAKE_BINARY_DIR}/metal_library.metal" PROPERTY LANGUAGE CXX)
add_library(metal_kernels OBJECT "${CMAKE_BINARY_DIR}/metal_library.metal")
target_include_directories(metal_kernels PRIVATE tests/cpp/msl)
target_compile_definitions(metal_kernels PRIVATE __METAL_VERSION__=310 JAXINV_UNROLL=)
target_compile_options(metal_kernels PRIVATE -O1 -ffp-contract=off -fno-strict-aliasing
  -Wno-attributes -Wno-unknown-pragmas)
add_library(metal_fake OBJECT tests/cpp/metal_fake/commands.cc tests/cpp/metal_fake/device.cc tests/cpp/metal_fake/runtime.cc
  tests/cpp/msl/msl.cc tests/cpp/simt/simt.cc)
set(metal_fake_objects)
foreach(target metal_kernels metal_fake)
  target_include_directories(${target} PRIVATE . tests/cpp/simt tests/cpp/metal_fake)
  set_property(TARGET ${target} PROPERTY POSITION_INDEPENDENT_CODE ON)
  list(APPEND metal_fake_objects $<TARGET_OBJECTS:${target}>)
endforeach()
list(APPEND metal_sources ${metal_fake_objects})
list(APPEND metal_definitions JAXINV_METAL_FAKE)
set(metal_includes tests/cpp/metal_fake)
find_package(Threads REQUIRED)
set(metal_libraries Threads::Threads)
