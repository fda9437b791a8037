// SPDX-License-Identifier: Apache-2.0

//! Small models of every family that is covered.

use pol_model::initial_parameters;
use pol_primitives::model::{
    Activation, Biases, Experts, LocalAttention, Mind, ModelSpec, Norm, NormPlacement,
    OtherRotation, PositionEncoding, QueryKeyNorm, RotaryBase, RotaryScaling, ScalingRamp,
    SoftCaps, Superposition,
};

/// Returns names and specifications, with vocabulary 29, width 24, and context 70.
pub(crate) fn families() -> Vec<(&'static str, ModelSpec)> {
    // A head of few values may be nearly zero, and its norm then turns rounding into a difference
    // that tests would see.
    let epsilon = 10_000_000;
    let gpt2 = ModelSpec { norm: Norm::Layer { epsilon }, ..ModelSpec::gpt2(29, 24, 2, 4, 40, 70) };
    let rotary =
        |dimensions, interleaved| PositionEncoding::Rotary { dimensions, base: 100, interleaved };
    let llama = ModelSpec {
        key_value_heads: 2,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon },
        positions: rotary(6, false),
        biases: Biases::default(),
        ..gpt2
    };
    let all_biases = Biases { head: true, ..gpt2.biases };
    let local = Some(LocalAttention { window: 3, period: 2, layers: 0b01 });
    let first = [
        ("gpt2", gpt2),
        ("gpt-neo", ModelSpec { local, scaled: false, biases: all_biases, ..gpt2 }),
        (
            "gpt-j",
            ModelSpec {
                positions: rotary(2, true),
                parallel: true,
                tied: false,
                biases: Biases { feed_forward: true, head: true, ..Biases::default() },
                ..gpt2
            },
        ),
        ("llama", ModelSpec { head_size: 10, tied: false, ..llama }),
        ("llama-biased", ModelSpec { activation: Activation::Gelu, biases: all_biases, ..llama }),
    ];
    let (later, scaled) = (later_families(gpt2, llama), scaled_and_bounded(gpt2, llama));
    let (mixtures, minds) = (mixtures(gpt2, llama), minds(gpt2, llama));
    first.into_iter().chain(later).chain(scaled).chain(mixtures).chain(minds).collect()
}

/// Returns families with other places of norms, norms of queries and keys, or two rotations.
fn later_families(gpt2: ModelSpec, llama: ModelSpec) -> [(&'static str, ModelSpec); 5] {
    let local = Some(LocalAttention { window: 3, period: 2, layers: 0b01 });
    let other = |layers, base| Some(OtherRotation { period: 2, layers, base });
    let (head, whole) = (Some(QueryKeyNorm::Head), Some(QueryKeyNorm::Whole));
    let short = Some(RotaryBase { base: 10, scaling: None });
    [
        ("qwen3", ModelSpec { query_key_norm: head, ..llama }),
        ("olmo2", ModelSpec { query_key_norm: whole, norms: NormPlacement::After, ..llama }),
        (
            "gemma3",
            ModelSpec {
                activation: Activation::GeluTanh,
                query_key_norm: head,
                norms: NormPlacement::Around,
                other_rotation: other(0b01, short),
                local,
                ..llama
            },
        ),
        ("smollm3", ModelSpec { other_rotation: other(0b10, None), ..llama }),
        (
            "gpt-neox",
            ModelSpec {
                activation: Activation::Relu,
                positions: PositionEncoding::Rotary {
                    dimensions: 2,
                    base: 100,
                    interleaved: false,
                },
                query_key_norm: head,
                parallel: true,
                norms: NormPlacement::Apart,
                tied: false,
                ..gpt2
            },
        ),
    ]
}

/// Returns families whose rotations are scaled, or whose scores and logits are bounded.
fn scaled_and_bounded(gpt2: ModelSpec, llama: ModelSpec) -> [(&'static str, ModelSpec); 5] {
    let (unit, head) = (RotaryScaling::AMPLITUDE_UNIT, Some(QueryKeyNorm::Head));
    let scaling = |ramp, amplitude| Some(RotaryScaling { factor: 4_000_000, ramp, amplitude });
    // Rates are 1, 0.2, and 0.05, so the second pair lies on the ramps.
    let wavelengths = scaling(ScalingRamp::Wavelengths { short: 9_000, long: 90_000 }, unit);
    let pairs = scaling(ScalingRamp::Pairs { first: 300_000, last: 1_800_000 }, 1_138_629_436);
    let base = Some(RotaryBase { base: 100, scaling: scaling(ScalingRamp::All, unit) });
    let linear = Some(OtherRotation { period: 2, layers: 0b10, base });
    let local = Some(LocalAttention { window: 3, period: 2, layers: 0b01 });
    let caps = |attention, logits| SoftCaps { attention: Some(attention), logits: Some(logits) };
    [
        ("llama-3.1", ModelSpec { scaling: wavelengths, ..llama }),
        ("qwen3-yarn", ModelSpec { query_key_norm: head, scaling: pairs, ..llama }),
        // Two rotations of one base.
        ("gemma3-linear", ModelSpec { other_rotation: linear, scaling: pairs, local, ..llama }),
        (
            "gemma2",
            ModelSpec {
                activation: Activation::GeluTanh,
                norms: NormPlacement::Around,
                caps: caps(2_000, 3_000),
                local,
                ..llama
            },
        ),
        // Bounds without a rotation: biases of keys have a gradient then.
        (
            "gpt2-bounded",
            ModelSpec {
                caps: caps(1_000, 2_500),
                biases: Biases { head: true, ..gpt2.biases },
                tied: false,
                ..gpt2
            },
        ),
    ]
}

/// Returns families with experts.
fn mixtures(gpt2: ModelSpec, llama: ModelSpec) -> Vec<(&'static str, ModelSpec)> {
    let of = |count, active, balance, z| Some(Experts { count, active, balance, z });
    let norms = NormPlacement::Around;
    vec![
        ("mixtral", ModelSpec { experts: of(8, 2, 20_000, 1_000), tied: false, ..llama }),
        // The router learns from the auxiliary losses alone.
        ("switch", ModelSpec { experts: of(5, 1, 400_000, 100_000), ..gpt2 }),
        ("switch-j", ModelSpec { experts: of(3, 1, 1_000_000, 0), parallel: true, ..gpt2 }),
        (
            "all-experts",
            ModelSpec { experts: of(3, 3, 0, 1_000_000), norms, biases: gpt2.biases, ..llama },
        ),
        ("most-experts", ModelSpec { experts: of(64, 5, 0, 0), ..llama }),
    ]
}

/// Returns families with parts of the mind.
fn minds(gpt2: ModelSpec, llama: ModelSpec) -> Vec<(&'static str, ModelSpec)> {
    let superposition = |branches, rank| Some(Superposition { branches, rank });
    let introspection = Mind { introspection: true, ..Mind::default() };
    let of =
        |branches, rank| Mind { superposition: superposition(branches, rank), ..introspection };
    let again = |second_pass| Mind { second_pass, ..introspection };
    let experts = Some(Experts { count: 4, active: 2, balance: 20_000, z: 1_000 });
    let head = Some(QueryKeyNorm::Head);
    let all_biases = Biases { head: true, ..gpt2.biases };
    vec![
        ("introspection", ModelSpec { mind: introspection, ..gpt2 }),
        ("watched-experts", ModelSpec { mind: introspection, experts, tied: false, ..llama }),
        ("superposition", ModelSpec { mind: Mind { introspection: false, ..of(2, 3) }, ..llama }),
        ("superposition-j", ModelSpec { mind: of(16, 2), parallel: true, ..gpt2 }),
        ("second-pass", ModelSpec { mind: again(1), ..gpt2 }),
        (
            "second-pass-j",
            ModelSpec {
                mind: again(2),
                parallel: true,
                positions: PositionEncoding::Rotary { dimensions: 2, base: 100, interleaved: true },
                biases: all_biases,
                tied: false,
                ..gpt2
            },
        ),
        (
            "second-pass-apart",
            ModelSpec {
                mind: again(1),
                query_key_norm: head,
                parallel: true,
                norms: NormPlacement::Apart,
                ..llama
            },
        ),
        (
            "whole-mind",
            ModelSpec {
                mind: Mind { second_pass: 2, ..of(3, 4) },
                layers: 3,
                query_key_norm: head,
                norms: NormPlacement::Around,
                experts,
                ..llama
            },
        ),
    ]
}

/// Creates parameters that are large enough for every path through the model to matter.
pub(crate) fn parameters(spec: &ModelSpec) -> Vec<f32> {
    let larger = |value: f32| if value == 1.0 { value } else { value * 15.0 };
    let values = initial_parameters(spec, &[3; 32]).into_iter().enumerate();
    values.map(|(i, value)| larger(value) + (i % 7) as f32 * 0.01).collect()
}

/// Creates sequences of tokens, `length + 1` each.
pub(crate) fn tokens(spec: &ModelSpec, sequences: u32, length: u32) -> Vec<u32> {
    let hash = |i: u32| (i + 1).wrapping_mul(2_654_435_761) >> 8;
    (0..sequences * (length + 1)).map(|i| hash(i) % spec.vocabulary).collect()
}
