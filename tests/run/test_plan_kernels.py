"""FLOPs of kernels, against numbers by hand."""

import pytest

from mer_jax.run.hlo import read_module
from mer_jax.run.plan_cost import cost_of

TEXT = """\
ENTRY %main (t: s8[1,2,3], q: bf16[2,28,1024,128], k: bf16[2,4,1536,128]) -> bf16[2,28,1024,128] {
  %t = s8[1,2,3]{2,1,0} parameter(0)
  %q = bf16[2,28,1024,128]{3,2,1,0} parameter(1)
  %k = bf16[2,4,1536,128]{3,2,1,0} parameter(2)
  ROOT %NAME.3 = (f32[2,512,128]{2,1,0}, bf16[2,28,1024,128]{3,2,1,0}) custom-call(%t, %t, %t, \
%q, %k), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"xprof_metadata":"{\\"block_q\\": 512, \\"layout\\": 1}"
}}, metadata={op_name="jit(f)/pairs_computed_1000/NAME/pallas_call" stack_frame_id=14}
}
"""


@pytest.mark.parametrize(
    ('name', 'products'),
    [
        ('splash_mha_fwd_segmented_residuals', 2),
        ('splash_mha_dq_segmented_no_residuals', 3),
        ('splash_mha_dkv_segmented_no_residuals', 4),
        ('another_kernel', 0),
    ],
)
def test_a_kernel_of_splash_counts_its_products_for_each_pair_of_slots(name, products):
    module = read_module(TEXT.replace('NAME', name))
    cost = cost_of(module, module.runs(1), 1)
    assert cost.flops == products * 2 * (2 * 28) * 1000 * 128
