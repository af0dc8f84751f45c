// Entry points of metal/inverse_grid.h.
#include "metal/inverse_grid.h"

#define JAXINV_GRID_KERNELS(type, V)                                                               \
  JAXINV_GRID_KERNEL(load_grid_##type, jaxinv::metal::grid_threads(), GroupShared, load_grid, V)   \
  JAXINV_GRID_KERNEL(scale_grid_##type, jaxinv::metal::grid_threads(), GroupShared, scale_grid, V) \
  JAXINV_GRID_KERNEL(panel_grid_##type, jaxinv::metal::grid_panel_threads(), GridPanelShared<V>,   \
                     panel_grid, V)                                                                \
  JAXINV_GRID_KERNEL(pivot_rows_grid_##type, jaxinv::metal::grid_column_threads(), Nothing,        \
                     pivot_rows_grid, V)                                                           \
  JAXINV_GRID_KERNEL(update_grid_##type, jaxinv::metal::grid_update_threads(),                     \
                     GridUpdateShared<V>, update_grid, V)                                          \
  JAXINV_GRID_KERNEL(store_grid_##type, jaxinv::metal::grid_threads(), GroupShared, store_grid, V)

JAXINV_GRID_KERNELS(float32, float)
JAXINV_GRID_KERNELS(complex64, jaxinv::metal::Complex64)
