"""jaxinv: batched matrix inversion for JAX."""

from jaxinv._native import Backend as Backend
from jaxinv._native import backends as backends
from jaxinv._version import __version__ as __version__
from jaxinv.explain import explain as explain
from jaxinv.linalg.inverse import InvDetResult as InvDetResult
from jaxinv.linalg.inverse import InvResult as InvResult
from jaxinv.linalg.inverse import InvSlogdetResult as InvSlogdetResult
from jaxinv.linalg.inverse import inv as inv
from jaxinv.linalg.inverse import inv_det as inv_det
from jaxinv.linalg.inverse import inv_ex as inv_ex
from jaxinv.linalg.inverse import inv_slogdet as inv_slogdet
from jaxinv.linalg.pinv import LstsqResult as LstsqResult
from jaxinv.linalg.pinv import lstsq as lstsq
from jaxinv.linalg.pinv import pinv as pinv
from jaxinv.linalg.tikhonov import tikhonov_pinv as tikhonov_pinv
from jaxinv.linalg.tikhonov import tikhonov_solve as tikhonov_solve
