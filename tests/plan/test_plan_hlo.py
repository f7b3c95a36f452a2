# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from dit_jax.plan.chips import CHIPS, Chip
from dit_jax.plan.hlo import parse, shapes
from dit_jax.plan.roofline import Work, step_seconds, work
from dit_jax.plan.work import collectives, float32_products, hbm_traffic, product_flops

# A loop of 5 turns, whose counter goes up by two; in it a product within a fusion, and two collectives.
LOOP = """HloModule tiny, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%product (p0: bf16[8,16], p1: bf16[16,4]) -> bf16[8,4] {
  %p0 = bf16[8,16]{1,0:T(8,128)(2,1)} parameter(0)
  %p1 = bf16[16,4]{1,0} parameter(1)
  ROOT %dot.1 = bf16[8,4]{1,0} dot(%p0, %p1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%body (arg: (s32[], bf16[8,16], bf16[2,4])) -> (s32[], bf16[8,16], bf16[2,4]) {
  %arg = (s32[], bf16[8,16]{1,0}, /*index=2*/bf16[2,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %x = bf16[8,16]{1,0} get-tuple-element(%arg), index=1
  %shard = bf16[2,4]{1,0} get-tuple-element(%arg), index=2
  %two = s32[] constant(2)
  %next = s32[] add(%i, %two)
  %start = (bf16[2,4]{1,0}, bf16[16,4]{1,0}) all-gather-start(%shard), channel_id=1, dimensions={0}
  %kernel = bf16[16,4]{1,0} all-gather-done(%start)
  %y = bf16[8,4]{1,0} fusion(%x, %kernel), kind=kOutput, calls=%product, backend_config={"estimated_cycles":"700"}
  %wide = f32[8,4]{1,0} convert(%y)
  %gradient = f32[16,4]{1,0} dot(%x, %wide), lhs_contracting_dims={0}, rhs_contracting_dims={0}
  %scattered = f32[2,4]{1,0} reduce-scatter(%gradient), channel_id=2, dimensions={0}, to_apply=%sum
  ROOT %out = (s32[], bf16[8,16]{1,0}, bf16[2,4]{1,0}) tuple(%next, %x, %shard)
}

%condition (arg.1: (s32[], bf16[8,16], bf16[2,4])) -> pred[] {
  %arg.1 = (s32[], bf16[8,16]{1,0}, bf16[2,4]{1,0}) parameter(0)
  %limit = s32[] constant(9)
  %j = s32[] get-tuple-element(%arg.1), index=0
  ROOT %less = pred[] compare(%j, %limit), direction=LT
}

ENTRY %main (q0: (s32[], bf16[8,16], bf16[2,4])) -> (s32[], bf16[8,16], bf16[2,4]) {
  %q0 = (s32[], bf16[8,16]{1,0}, bf16[2,4]{1,0}) parameter(0)
  %f = f32[3,3]{1,0} constant({...})
  %outside = f32[3,3]{1,0} dot(%f, %f), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %total = f32[3,3]{1,0} all-reduce(%outside), channel_id=3, to_apply=%sum
  ROOT %while = (s32[], bf16[8,16]{1,0}, bf16[2,4]{1,0}) while(%q0), condition=%condition, body=%body
}
"""


def entry(*lines, before=""):
    return parse("\n".join([before, "ENTRY %main () -> f32[] {", *(f"  {line}" for line in lines), "}"]))


def only(module, opcode):
    return next((v.instruction, v.scope) for v in module.visits() if v.instruction.opcode == opcode)


def test_collectives_count_by_the_turns_of_their_loop():
    found = collectives(parse(LOOP))
    gathered = 5 * 2 * 16 * 4
    assert found["all-gather"] == dict(count=5, bytes=gathered, asynchronous=5, asynchronous_bytes=gathered)
    assert found["reduce-scatter"] == dict(
        count=5, bytes=5 * 4 * 16 * 4, asynchronous=0, asynchronous_bytes=0
    )
    assert found["all-reduce"] == dict(count=1, bytes=36, asynchronous=0, asynchronous_bytes=0)


def test_known_turns_are_believed():
    text = LOOP.replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"28"},"known_step":{"step":"1"}}'
    )
    assert collectives(parse(text))["all-gather"]["count"] == 28


def test_float32_products_are_named_where_they_are():
    assert float32_products(parse(LOOP)) == {"in_loops": ["gradient"], "outside": ["outside"]}


def test_work_sums_products_cycles_and_traffic():
    done = work(parse(LOOP))
    product = 2 * 8 * 4 * 16
    assert done.flops == 5 * 2 * product + 2 * 3 * 3 * 3
    assert done.cycles == 5 * 700
    fusion = (product, 2 * (8 * 16 + 16 * 4 + 8 * 4), 5)
    assert fusion in done.instructions


def test_a_collective_spread_over_fusions_counts_once():
    before = """
%first (p: bf16[2,4]) -> (bf16[2,4], bf16[16,4]) {
  %p = bf16[2,4]{1,0} parameter(0)
  %all-gather.1 = bf16[16,4]{1,0} all-gather(%p), channel_id=7, dimensions={0}, frontend_attributes={chain_id="1"}
  ROOT %c = (bf16[2,4]{1,0}, bf16[16,4]{1,0}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%last (r: bf16[2,4]) -> bf16[16,4] {
  %r = bf16[2,4]{1,0} parameter(0)
  %all-gather.2 = bf16[16,4]{1,0} all-gather(%r), channel_id=7, dimensions={0}, frontend_attributes={chain_id="1"}
  ROOT %d = bf16[16,4]{1,0} custom-call(%r, %all-gather.2), custom_call_target="AsyncCollectiveDone"
}
"""
    module = entry(
        "%x = bf16[2,4]{1,0} parameter(0)",
        "%begun = (bf16[2,4]{1,0}, bf16[16,4]{1,0}) fusion(%x), kind=kCustom, calls=%first",
        "ROOT %ended = bf16[16,4]{1,0} fusion(%x), kind=kCustom, calls=%last",
        before=before,
    )
    assert collectives(module) == {
        "all-gather": dict(count=1, bytes=128, asynchronous=1, asynchronous_bytes=128)
    }


def test_what_hosts_send_across_slices_is_counted_and_costs_no_links():
    module = entry(
        "%x = f32[16,4]{1,0} parameter(0)",
        "%t = token[] after-all()",
        "%s = (f32[16,4]{1,0}, u32[], token[]) send(%x, %t), channel_id=3, is_host_transfer=true, "
        'frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}',
        "%other = (f32[16,4]{1,0}, u32[], token[]) send(%x, %t), channel_id=4, is_host_transfer=true",
        "ROOT %d = token[] send-done(%s), channel_id=3, is_host_transfer=true",
    )
    found = collectives(module)
    assert found == {"across-slices": dict(count=1, bytes=256, asynchronous=1, asynchronous_bytes=256)}
    seconds = step_seconds(work(module), found, CHIPS["v5e"])
    assert seconds["interconnect_asynchronous"] == seconds["interconnect_synchronous"] == 0


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("dynamic-slice(%sum, %k, %k), dynamic_slice_sizes={2,4}", "reduce-scatter"),
        ("slice(%sum), slice={[0:2], [0:4]}", "all-reduce"),
    ],
)
def test_a_sum_of_which_each_device_keeps_its_slice_is_a_scatter(last, kind):
    before = f"""
%scatter (p: f32[16,4]) -> f32[2,4] {{
  %p = f32[16,4]{{1,0}} parameter(0)
  %k = u32[] constant(0)
  %sum = f32[16,4]{{1,0}} all-reduce(%p), channel_id=7
  ROOT %r = f32[2,4]{{1,0}} {last}
}}
"""
    module = entry(
        "%x = f32[16,4]{1,0} parameter(0)",
        "ROOT %done = f32[2,4]{1,0} fusion(%x), kind=kCustom, calls=%scatter",
        before=before,
    )
    assert collectives(module) == {kind: dict(count=1, bytes=256, asynchronous=0, asynchronous_bytes=0)}


@pytest.mark.parametrize(("last", "kind"), [("dynamic-slice", "reduce-scatter"), ("negate", "all-reduce")])
def test_so_are_several_if_all_are_kept_in_slices(last, kind):
    part = "f32[2,4]{1,0}"
    before = f"""
%scatter (p: f32[16,4], q: f32[16,4]) -> ({part}, {part}) {{
  %p = f32[16,4]{{1,0}} parameter(0)
  %q = f32[16,4]{{1,0}} parameter(1)
  %k = u32[] constant(0)
  %sums = (f32[16,4]{{1,0}}, f32[16,4]{{1,0}}) all-reduce(%p, %q), channel_id=7
  %a = f32[16,4]{{1,0}} get-tuple-element(%sums), index=0
  %b = f32[16,4]{{1,0}} get-tuple-element(%sums), index=1
  %own = {part} dynamic-slice(%a, %k, %k), dynamic_slice_sizes={{2,4}}
  %other = {part} {last}(%b)
  ROOT %r = ({part}, {part}) tuple(%own, %other)
}}
"""
    module = entry(
        "%x = f32[16,4]{1,0} parameter(0)",
        f"ROOT %done = ({part}, {part}) fusion(%x, %x), kind=kCustom, calls=%scatter",
        before=before,
    )
    assert collectives(module) == {kind: dict(count=1, bytes=512, asynchronous=0, asynchronous_bytes=0)}


SCATTERS = """
  %p = f32[16,4]{1,0} parameter(0)
  ROOT %r = f32[2,4]{1,0} reduce-scatter(%p), channel_id=7, dimensions={0}
}"""
CALLED = f"""
%scatter (p: f32[16,4]) -> f32[2,4] {{{SCATTERS}
"""
ON_ANOTHER_CORE = f"""
%called (p: f32[16,4]) -> f32[2,4] {{{SCATTERS}, execution_thread="sparsecore"

%scatter (p: f32[16,4]) -> f32[2,4] {{
  %p = f32[16,4]{{1,0}} parameter(0)
  ROOT %c = f32[2,4]{{1,0}} custom-call(%p), custom_call_target="core", called_computations={{%called}}
}}, execution_thread="sparsecore"
"""


@pytest.mark.parametrize(
    ("before", "begun", "given"),
    [
        (
            CALLED,
            "((f32[16,4]{1,0}), f32[2,4]{1,0}, u32[]) async-start(%x), calls=%scatter",
            "bitcast(%begun)",
        ),
        (ON_ANOTHER_CORE, "((), (), s32[]) async-start(), calls=%scatter", "async-update(%begun, %x)"),
    ],
)
def test_what_an_asynchronous_start_calls_counts_once(before, begun, given):
    module = entry(
        "%x = f32[16,4]{1,0} parameter(0)",
        f"%begun = {begun}",
        f"%given = ((f32[16,4]{{1,0}}), f32[2,4]{{1,0}}, u32[]) {given}",
        "ROOT %ended = f32[2,4]{1,0} async-done(%given), calls=%scatter",
        before=before,
    )
    assert collectives(module) == {
        "reduce-scatter": dict(count=1, bytes=256, asynchronous=1, asynchronous_bytes=256)
    }


@pytest.mark.parametrize(
    ("left", "right", "out", "attributes", "flops"),
    [
        # a plain product
        ("8,16", "16,4", "8,4", "dim_labels=bf_io->bf", 2 * 8 * 16 * 4),
        # a product with two axes of the result, as a padded window of two places
        (
            "8,16,1",
            "16,2,4",
            "8,2,4",
            "window={size=2 pad=1_1 rhs_reversal=1}, dim_labels=bf0_i0o->b0f",
            2 * 8 * 16 * 8,
        ),
        # contraction over two axes
        ("8,2,4", "2,4,16", "8,16,1", "window={size=2}, dim_labels=b0f_0io->bf0", 2 * 8 * 8 * 16),
        # three products in a batch, told as strides and holes
        (
            "3,8,16",
            "3,16,4",
            "3,8,4",
            "window={size=3 stride=2 pad=0_0 lhs_dilate=3}, dim_labels=0bf_0io->0bf",
            2 * 3 * 8 * 16 * 4,
        ),
        # a true convolution, three taps over five places with edges
        ("1,5,2", "3,2,7", "1,5,7", "window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f", 2 * 2 * 7 * 13),
    ],
)
def test_convolutions_count_what_meets(left, right, out, attributes, flops):
    module = entry(
        f"%l = bf16[{left}]{{0}} parameter(0)",
        f"%r = bf16[{right}]{{0}} parameter(1)",
        f"ROOT %c = bf16[{out}]{{0}} convolution(%l, %r), {attributes}",
    )
    assert product_flops(*only(module, "convolution")) == flops


def test_a_batched_dot_counts_each():
    module = entry(
        "%l = bf16[3,8,16]{2,1,0} parameter(0)",
        "%r = bf16[3,16,4]{2,1,0} parameter(1)",
        "ROOT %c = bf16[3,8,4]{2,1,0} dot(%l, %r), lhs_batch_dims={0}, lhs_contracting_dims={2}, "
        "rhs_batch_dims={0}, rhs_contracting_dims={1}",
    )
    assert product_flops(*only(module, "dot")) == 2 * 3 * 8 * 16 * 4


def test_slices_and_updates_move_what_they_touch():
    before = """
%slice (a: f32[28,64], b: s32[]) -> f32[1,64] {
  %a = f32[28,64]{1,0} parameter(0)
  %b = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %ds = f32[1,64]{1,0} dynamic-slice(%a, %b, %zero), dynamic_slice_sizes={1,64}
}

%update (c: f32[28,64], d: f32[1,64], e: s32[]) -> f32[28,64] {
  %c = f32[28,64]{1,0} parameter(0)
  %d = f32[1,64]{1,0} parameter(1)
  %e = s32[] parameter(2)
  %none = s32[] constant(0)
  ROOT %dus = f32[28,64]{1,0} dynamic-update-slice(%c, %d, %e, %none)
}
"""
    module = entry(
        "%stack = f32[28,64]{1,0} parameter(0)",
        "%n = s32[] parameter(1)",
        "%one = f32[1,64]{1,0} fusion(%stack, %n), kind=kLoop, calls=%slice",
        "%near = f32[1,64]{1,0:T(8,128)S(1)} copy(%one)",
        "ROOT %new = f32[28,64]{1,0} fusion(%stack, %near, %n), kind=kLoop, calls=%update",
        before=before,
    )
    traffic = {
        v.instruction.name: hbm_traffic(v.instruction, v.scope, module)
        for v in module.visits()
        if not v.fused
    }
    row = 4 * 64
    assert traffic == {"stack": 0, "n": 0, "one": 2 * row + 4, "near": row, "new": 2 * row + 4}


def test_shapes_have_their_bytes():
    found = shapes("(bf16[4,2]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f8e4m3fn[8]{0}, pred[], s4[6]{0}, token[])")
    assert [shape.num_bytes for shape in found] == [16, 8, 1, 3, 0]
    assert [shape.on_chip for shape in found] == [True, False, False, False, False]


def test_a_text_without_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        parse("nothing")


CHIP = Chip("tpu", flops=100.0, hbm_bytes=1.0, hbm_bandwidth=10.0, link_bandwidth=5.0, clock=2.0)
TALK = {
    "all-gather": dict(count=1, bytes=30, asynchronous=1, asynchronous_bytes=20),
    "all-reduce": dict(count=1, bytes=5, asynchronous=0, asynchronous_bytes=0),
}


def test_the_roofline_takes_the_slower_of_each_instruction():
    done = Work(flops=500, hbm_bytes=50, cycles=0, instructions=((100, 1, 3), (200, 47, 1)))
    parts = step_seconds(done, TALK, CHIP)
    assert parts["roofline"] == pytest.approx(3 * 1.0 + 4.7)
    assert parts["interconnect_asynchronous"] == pytest.approx(4.0)
    assert parts["interconnect_synchronous"] == pytest.approx(2.0 + 2.0)
    assert parts["estimate"] == pytest.approx(7.7 + 4.0)
    assert (parts["compute"], parts["hbm"], parts["cycles"]) == (5.0, 5.0, None)


def test_the_compiler_s_cycles_come_first_and_hide_what_is_asynchronous():
    done = Work(flops=500, hbm_bytes=50, cycles=6, instructions=((500, 50, 1),))
    assert step_seconds(done, TALK, CHIP)["estimate"] == pytest.approx(4.0 + 4.0)  # talking takes longer
    assert step_seconds(done, TALK, CHIPS["cpu"]) is None


def test_kernels_take_what_their_products_or_bytes_do_where_the_compiler_sees_no_cycles():
    kernels = ((100, 1, 3), (0, 40, 2))
    parts = step_seconds(
        Work(flops=300, hbm_bytes=83, cycles=6, instructions=kernels, kernels=kernels), {}, CHIP
    )
    assert parts["kernels"] == pytest.approx(3 * 1.0 + 2 * 4.0)
    assert parts["estimate"] == pytest.approx(6 / 2 + parts["kernels"])
