// SPDX-License-Identifier: Apache-2.0

//! Superposition, introspection and second pass within the decoder.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use pol_model::{Decoder, KvCache, Layout, Weights, initial_parameters, mind::coherence};
use pol_primitives::model::{Mind, ModelSpec, Superposition};
use tch::{Device, Tensor};

const FULL: Mind = Mind {
    superposition: Some(Superposition { branches: 3, rank: 4 }),
    introspection: true,
    second_pass: 1,
};
const ROWS: [[i64; 7]; 2] = [[1, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]];

fn spec(mind: Mind) -> ModelSpec {
    ModelSpec { mind, ..ModelSpec::gpt2(13, 8, 2, 2, 12, 7) }
}

fn tokens(rows: &[[i64; 7]]) -> Tensor {
    Tensor::from_slice(rows.as_flattened()).view([rows.len() as i64, 7])
}

/// Creates initial parameters that are large enough for every path to matter. `change` gets the
/// name and the values of each tensor of the mind.
fn parameters(spec: &ModelSpec, change: impl Fn(&str, &mut [f32])) -> Vec<f32> {
    let mut flat = initial_parameters(spec, &[3; 32]);
    for slot in Layout::new(spec).unwrap().tensors() {
        flat[slot.range()]
            .iter_mut()
            .enumerate()
            .for_each(|(i, value)| *value = *value * 8.0 + (i % 7) as f32 * 0.01);
        if slot.parameter.name.contains("mind") {
            change(&slot.parameter.name, &mut flat[slot.range()]);
        }
    }
    flat
}

/// Creates parameters with closed gates, as they are initially.
fn closed(spec: &ModelSpec) -> Vec<f32> {
    parameters(spec, |name, values| {
        if name.ends_with("gate") {
            values.fill(0.0)
        }
    })
}

/// Creates parameters with open gates and an introspection head that selects some tokens.
fn open(spec: &ModelSpec) -> Vec<f32> {
    parameters(spec, |name, values| match name {
        "mind.introspection.weight" => {
            values.iter_mut().enumerate().for_each(|(i, value)| *value = 0.3 * i as f32 - 1.0)
        }
        name if name.ends_with("gate") => values.fill(0.8),
        _ => (),
    })
}

fn weights(spec: &ModelSpec, flat: &[f32]) -> Weights {
    Weights::new(&Layout::new(spec).unwrap(), flat).unwrap()
}

fn hidden(spec: &ModelSpec, flat: &[f32], tokens: &Tensor) -> Tensor {
    Decoder::new(spec).unwrap().hidden_states(&weights(spec, flat), tokens, None).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    tensor.abs().max().double_value(&[])
}

#[test]
fn a_mind_that_is_added_changes_nothing() {
    let (plain, full) = (spec(Mind::default()), spec(FULL));
    let flat = closed(&full);
    // The tensors of the same model without a mind, in the same order.
    let layout = Layout::new(&full).unwrap();
    let others = layout.tensors().iter().filter(|slot| !slot.parameter.name.contains("mind"));
    let without: Vec<f32> = others.flat_map(|slot| flat[slot.range()].to_vec()).collect();
    assert_eq!(hidden(&full, &flat, &tokens(&ROWS)), hidden(&plain, &without, &tokens(&ROWS)));
    assert!(
        largest(
            &(hidden(&full, &open(&full), &tokens(&ROWS))
                - hidden(&plain, &without, &tokens(&ROWS)))
        ) > 1e-2
    );
}

#[test]
fn each_layer_has_an_effect_once_its_gate_is_open() {
    let full = spec(FULL);
    let all = hidden(&full, &open(&full), &tokens(&ROWS));
    for gate in ["h.0.mind.gate", "h.1.mind.gate", "mind.second_pass.gate"] {
        let mut flat = open(&full);
        let layout = Layout::new(&full).unwrap();
        let slot = layout.tensors().iter().find(|slot| slot.parameter.name == gate).unwrap();
        flat[slot.range()].fill(0.0);
        assert!(largest(&(hidden(&full, &flat, &tokens(&ROWS)) - &all)) > 1e-3, "{gate}");
    }
}

#[test]
fn no_token_sees_a_later_one_or_another_sequence() {
    let full = spec(FULL);
    let (flat, mut changed) = (open(&full), ROWS);
    changed[0][4..].copy_from_slice(&[0, 11, 8]);
    let (one, other) =
        (hidden(&full, &flat, &tokens(&ROWS)), hidden(&full, &flat, &tokens(&changed)));
    assert!(largest(&(one.get(1) - other.get(1))) < 1e-6);
    assert!(largest(&(one.get(0).narrow(0, 0, 4) - other.get(0).narrow(0, 0, 4))) < 1e-6);
    for later in 4..7 {
        assert!(largest(&(one.get(0).get(later) - other.get(0).get(later))) > 1e-3);
    }
}

#[test]
fn decoding_equals_one_forward_pass() {
    let full = spec(FULL);
    let (weights, decoder) = (weights(&full, &open(&full)), Decoder::new(&full).unwrap());
    let whole = decoder.hidden_states(&weights, &tokens(&ROWS), None).unwrap();
    for pieces in [vec![7], vec![1; 7], vec![3, 1, 3]] {
        let mut cache = KvCache::new(&full, 2, 7, Device::Cpu).unwrap();
        let parts: Vec<Tensor> = tokens(&ROWS)
            .split_with_sizes(pieces.as_slice(), 1)
            .iter()
            .map(|piece| decoder.hidden_states(&weights, piece, Some(&mut cache)).unwrap())
            .collect();
        assert!(largest(&(Tensor::cat(&parts, 1) - &whole)) < 1e-5, "{pieces:?}");
        // Returns to the third token, swaps the sequences and continues.
        cache.truncate(3);
        let mut swapped = cache.select(&[1, 0]).unwrap();
        let mut copy = KvCache::new(&full, 2, 7, Device::Cpu).unwrap();
        copy.copy_from(&swapped).unwrap();
        let rest = decoder
            .hidden_states(&weights, &tokens(&ROWS).flip([0]).narrow(1, 3, 4), Some(&mut swapped))
            .unwrap();
        assert!(largest(&(&rest - whole.flip([0]).narrow(1, 3, 4))) < 1e-5, "{pieces:?}");
        let same = decoder
            .hidden_states(&weights, &tokens(&ROWS).flip([0]).narrow(1, 3, 4), Some(&mut copy))
            .unwrap();
        assert_eq!(largest(&(rest - same)), 0.0, "{pieces:?}");
    }
}

#[test]
fn introspection_does_not_change_the_model() {
    let gradients = |mind: Mind| {
        let spec = spec(mind);
        let layout = Layout::new(&spec).unwrap();
        let weights = weights(&spec, &open(&spec)).share(true).unwrap();
        let outcome = Decoder::new(&spec).unwrap().forward_loss(&weights, &tokens(&ROWS)).unwrap();
        let mut gradient = vec![0.0; layout.len()];
        weights.gradient(&outcome.objective, &mut gradient).unwrap();
        (layout, gradient)
    };
    let (plain, expected) = gradients(Mind::default());
    let (layout, found) = gradients(Mind { introspection: true, ..Mind::default() });
    // The head comes last. All gradients before it have the same bits as without it.
    assert_eq!(found[..plain.len()], expected);
    let head = &layout.tensors()[plain.tensors().len()];
    assert_eq!(head.parameter.name, "mind.introspection.weight");
    assert!(found[head.range()].iter().any(|g| g.abs() > 1e-5));
}

#[test]
fn all_of_an_open_mind_learns() {
    let full = spec(FULL);
    let layout = Layout::new(&full).unwrap();
    let weights = weights(&full, &open(&full)).share(true).unwrap();
    let outcome = Decoder::new(&full).unwrap().forward_loss(&weights, &tokens(&ROWS)).unwrap();
    let mut gradient = vec![0.0; layout.len()];
    weights.gradient(&outcome.objective, &mut gradient).unwrap();
    for slot in layout.tensors() {
        assert!(gradient[slot.range()].iter().any(|g| g.abs() > 1e-7), "{}", slot.parameter.name);
    }
}

#[test]
fn amplitudes_and_introspection_are_available() {
    let full = spec(FULL);
    let (weights, decoder) = (weights(&full, &open(&full)), Decoder::new(&full).unwrap());
    let amplitudes = decoder.amplitudes(&weights, &tokens(&ROWS)).unwrap();
    assert_eq!(amplitudes.iter().map(Tensor::size).collect::<Vec<_>>(), [[14, 6], [14, 6]]);
    for amplitudes in &amplitudes {
        let amplitudes = Vec::<f32>::try_from(amplitudes.reshape([-1])).unwrap();
        let coherence = coherence(&amplitudes, 3);
        assert!(coherence > 0.0 && coherence < 1.0);
    }
    let hidden = decoder.hidden_states(&weights, &tokens(&ROWS), None).unwrap();
    assert_eq!(decoder.introspect(&weights, &hidden).unwrap().unwrap().size(), [2, 7]);
    let plain = spec(Mind::default());
    let (without, decoder) =
        (self::weights(&plain, &closed(&plain)), Decoder::new(&plain).unwrap());
    assert!(decoder.introspect(&without, &hidden).unwrap().is_none());
    assert!(decoder.amplitudes(&without, &tokens(&ROWS)).unwrap().is_empty());
}
