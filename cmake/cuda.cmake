# The CUDA kernels: finds nvcc, picks architectures, compiles cuda/*.cu to objects. Sets cuda_objects,
# cuda_sources, cuda_definitions and cuda_libraries; leaves them empty where there is no nvcc and JAXINV_CUDA is AUTO.
#
# JAXINV_CUDA_ARCHS: empty for the GPU found here, else sm_90; "all" for every architecture that wheels carry;
# or a list like 80;90. The latest one goes in as PTX as well.

function(jaxinv_no_cuda reason)
  if(JAXINV_CUDA STREQUAL "ON")
    message(FATAL_ERROR "JAXINV_CUDA=ON: ${reason}")
  endif()
  message(STATUS "No CUDA kernels: ${reason}")
endfunction()

# On the PATH, in the usual places, or from NVIDIA's pip packages.
execute_process(
  COMMAND "${Python_EXECUTABLE}" -c
    "import glob, site, sysconfig; folders = {sysconfig.get_path('purelib'), *site.getsitepackages()}; \
print(';'.join(p for f in folders for p in sorted(glob.glob(f + '/nvidia/*/bin'), reverse=True)))"
  OUTPUT_VARIABLE pip_folders OUTPUT_STRIP_TRAILING_WHITESPACE)
find_program(JAXINV_NVCC nvcc
  HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin
  PATHS /usr/local/cuda/bin ${pip_folders})
if(NOT JAXINV_NVCC)
  jaxinv_no_cuda("nvcc is not on the PATH, in CUDA_HOME, nor among the installed Python packages")
  return()
endif()

# nvcc may be a wrapper: it says itself where its headers and libraries are.
execute_process(COMMAND "${JAXINV_NVCC}" --dryrun -c x.cu ERROR_VARIABLE dryrun OUTPUT_QUIET)
string(REGEX MATCH "TOP=([^\r\n]*)" unused "${dryrun}")
get_filename_component(toolkit "${CMAKE_MATCH_1}" REALPATH)
execute_process(COMMAND "${JAXINV_NVCC}" --version OUTPUT_VARIABLE version)
string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" unused "${version}")
set(nvcc_version "${CMAKE_MATCH_1}")
if(nvcc_version VERSION_LESS 12.0)
  jaxinv_no_cuda("${JAXINV_NVCC} is of CUDA ${nvcc_version}, at least 12.0 is needed")
  return()
endif()
set(target_folder "${toolkit}/targets/${CMAKE_SYSTEM_PROCESSOR}-linux")
find_path(JAXINV_CUDA_INCLUDE cuda_runtime.h
  HINTS "${toolkit}/include" "${target_folder}/include" NO_DEFAULT_PATH)
find_library(JAXINV_CUDART libcudart_static.a
  HINTS "${toolkit}/lib64" "${toolkit}/lib" "${target_folder}/lib" NO_DEFAULT_PATH)
if(NOT JAXINV_CUDA_INCLUDE OR NOT JAXINV_CUDART)
  jaxinv_no_cuda("${toolkit} has no cuda_runtime.h or no libcudart_static.a")
  return()
endif()

set(JAXINV_CUDA_ARCHS "$ENV{JAXINV_CUDA_ARCHS}" CACHE STRING "Empty, all, or a list like 80;90")
set(archs "${JAXINV_CUDA_ARCHS}")
if(archs STREQUAL "all")
  execute_process(COMMAND "${JAXINV_NVCC}" --list-gpu-code OUTPUT_VARIABLE known)
  set(archs "")
  foreach(arch 75 80 86 89 90 100 120)
    if(known MATCHES "sm_${arch}[\r\n]")
      list(APPEND archs ${arch})
    endif()
  endforeach()
elseif(archs STREQUAL "")
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
    OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE failed)
  string(REGEX MATCHALL "[0-9]+\\.[0-9]" archs "${found}")
  string(REPLACE "." "" archs "${archs}")
  list(REMOVE_DUPLICATES archs)
  if(failed OR NOT archs)
    set(archs 90)
  endif()
endif()
list(SORT archs COMPARE NATURAL)
foreach(arch ${archs})
  if(NOT arch MATCHES "^[0-9]+$")
    message(FATAL_ERROR "JAXINV_CUDA_ARCHS: expected all or a list like 80;90, got '${JAXINV_CUDA_ARCHS}'")
  endif()
endforeach()
list(GET archs -1 latest)
set(nvcc_flags -std=c++17 -O3 -ccbin "${CMAKE_CXX_COMPILER}" -Xcompiler=-fPIC,-fvisibility=hidden
  "-I${CMAKE_SOURCE_DIR}")
foreach(arch ${archs})
  list(APPEND nvcc_flags -gencode=arch=compute_${arch},code=sm_${arch})
endforeach()
list(APPEND nvcc_flags -gencode=arch=compute_${latest},code=compute_${latest})
list(LENGTH archs count)
if(count GREATER 1)
  list(APPEND nvcc_flags -t2)
  # Wheels have a limit, and code of seven architectures packs to a third of what nvcc makes of it by default. What CUDA
  # 13 knows for this needs drivers of its age, as its runtime does.
  if(nvcc_version VERSION_LESS 13.0)
    list(APPEND nvcc_flags -Xfatbin=-compress-all)
  else()
    list(APPEND nvcc_flags --compress-mode=size)
  endif()
endif()

set(probe "${CMAKE_BINARY_DIR}/cuda_probe.cu")
file(WRITE "${probe}" "#include <cuda_fp16.h>\n#include <string>\n__global__ void f(__half* x) { *x = __float2half_rn(1); }\n")
execute_process(COMMAND "${JAXINV_NVCC}" ${nvcc_flags} -c "${probe}" -o "${probe}.o"
  RESULT_VARIABLE failed ERROR_VARIABLE message OUTPUT_VARIABLE message)
if(failed)
  jaxinv_no_cuda("${JAXINV_NVCC} does not compile a small kernel: ${message}")
  return()
endif()
message(STATUS "CUDA kernels: ${JAXINV_NVCC} ${nvcc_version} for sm_${archs}")

file(GLOB cuda_headers CONFIGURE_DEPENDS cuda/*.cuh cuda/*.h core/*.h)
function(jaxinv_cuda_object name source)
  set(object "${CMAKE_BINARY_DIR}/cuda_${name}.o")
  add_custom_command(OUTPUT "${object}"
    COMMAND "${JAXINV_NVCC}" ${nvcc_flags} ${ARGN} -c "${CMAKE_SOURCE_DIR}/${source}" -o "${object}"
    DEPENDS "${CMAKE_SOURCE_DIR}/${source}" ${cuda_headers}
    COMMENT "CUDA ${name}" VERBATIM)
  set(cuda_objects ${cuda_objects} "${object}" PARENT_SCOPE)
endfunction()
jaxinv_cuda_object(launch cuda/launch.cu)
jaxinv_cuda_object(float cuda/kernels.cu -DJAXINV_VALUE=float)
jaxinv_cuda_object(double cuda/kernels.cu -DJAXINV_VALUE=double)
jaxinv_cuda_object(complex_float cuda/kernels.cu "-DJAXINV_VALUE=Complex<float>")
jaxinv_cuda_object(complex_double cuda/kernels.cu "-DJAXINV_VALUE=Complex<double>")

set(cuda_sources cuda/devices.cc xla_ffi/cuda_handlers.cc)
list(JOIN archs "," machine_code)
set_property(SOURCE cuda/devices.cc PROPERTY COMPILE_DEFINITIONS
  "JAXINV_CUDA_MACHINE_CODE=${machine_code}" JAXINV_CUDA_PTX=${latest})
set_property(SOURCE cuda/devices.cc PROPERTY COMPILE_OPTIONS -isystem "${JAXINV_CUDA_INCLUDE}")
set(cuda_definitions JAXINV_HAS_CUDA)
# The runtime is part of the module, and hidden in it: importing needs no CUDA, running only the driver.
set(cuda_libraries "${JAXINV_CUDART}" rt dl pthread -Wl,--exclude-libs,ALL)
