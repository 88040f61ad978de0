use privnet_model::Vni;

use crate::{KernelNetwork, NetOp};

/// The operations that lead from `actual` to `wanted`, in the order in which they must be done.
pub fn plan(vni: Vni, wanted: &KernelNetwork, actual: &KernelNetwork) -> Vec<NetOp> {
    let _ = (vni, wanted, actual);
    Vec::new()
}
