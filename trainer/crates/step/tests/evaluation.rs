// SPDX-License-Identifier: Apache-2.0

//! Losses without gradients: those of a training step, on every machine, in little memory.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod families;

use families::{families, parameters, tokens};
use pol_kernels::{Error as KernelError, Kernels};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::model::ModelSpec;
use pol_step::{Error, Evaluation, Observations, Step, most_sequences};
use tch::Tensor;

/// More than one chunk of keys, and more than one chain of tokens.
const SIZE: [u32; 2] = [5, 66];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn losses_are_those_of_a_training_step() {
    for (name, spec) in families() {
        let [sequences, length] = SIZE;
        let (parameters, tokens) = (parameters(&spec), tokens(&spec, sequences, length));
        let mut gradient = vec![0.0; parameters.len()];
        let mut evaluation = Evaluation::new(&spec, sequences, length).unwrap();
        let losses = bits(evaluation.losses(&parameters, &tokens).unwrap());
        let mut step = Step::new(&spec, sequences, length).unwrap();
        step.gradient(&parameters, &tokens, &mut gradient).unwrap();
        assert_eq!(bits(evaluation.token_losses()), bits(step.token_losses()), "{name}");

        // A sequence has the loss of a micro-batch of its own, whatever is read beside it.
        let mut step = Step::new(&spec, 1, length).unwrap();
        let of_sequences = tokens
            .chunks(length as usize + 1)
            .map(|tokens| step.gradient(&parameters, tokens, &mut gradient).unwrap().to_bits());
        let of_sequences: Vec<u32> = of_sequences.collect();
        assert_eq!(losses, of_sequences, "{name}");
        let pairs = tokens.chunks(2 * (length as usize + 1)).flat_map(|tokens| {
            let count = (tokens.len() / (length as usize + 1)) as u32;
            let mut evaluation = Evaluation::new(&spec, count, length).unwrap();
            bits(evaluation.losses(&parameters, tokens).unwrap())
        });
        assert_eq!(losses, pairs.collect::<Vec<_>>(), "{name}");
    }
}

/// Returns the bits of all that an evaluation gives.
fn all_bits(spec: &ModelSpec, kernels: Kernels, threads: usize) -> Vec<Vec<u32>> {
    let [sequences, length] = SIZE;
    let (parameters, tokens) = (parameters(spec), tokens(spec, sequences, length));
    let new = |sequences| Evaluation::new(spec, sequences, length).unwrap().with_kernels(kernels);
    let (mut evaluation, mut alone) = (new(sequences), new(1));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let losses = bits(evaluation.losses(&parameters, &tokens).unwrap());
        let seen = evaluation.observe(&parameters, &tokens).unwrap();
        let next = alone.predict(&parameters, &tokens[..50]).unwrap();
        let chosen = seen.chosen.iter().map(|&chosen| u32::from(chosen)).collect();
        let parts = [&seen.losses, &seen.confidence, &seen.predicted_losses, &seen.first_losses];
        let parts = parts.into_iter().chain(&seen.amplitudes).chain([&next.logits, &next.hidden]);
        let integers = [losses, seen.likeliest, chosen].into_iter().chain(seen.loads);
        parts.map(|values| bits(values)).chain(integers).collect()
    })
}

#[test]
fn every_instruction_set_and_number_of_threads_gives_the_same_bits() {
    for (name, spec) in families() {
        let expected = all_bits(&spec, Kernels::best(), 1);
        for kernels in Kernels::all() {
            for threads in 1..=4 {
                let found = all_bits(&spec, kernels, threads);
                assert!(found == expected, "{name}: {} on {threads} threads", kernels.name());
            }
        }
    }
}

#[test]
fn losses_are_near_those_of_libtorch() {
    for (name, spec) in families() {
        let [sequences, length] = SIZE;
        let (parameters, tokens) = (parameters(&spec), tokens(&spec, sequences, length));
        let mut evaluation = Evaluation::new(&spec, sequences, length).unwrap();
        let found = evaluation.losses(&parameters, &tokens).unwrap();
        let weights = Weights::new(&Layout::new(&spec).unwrap(), &parameters).unwrap();
        let rows: Vec<i64> = tokens.iter().copied().map(i64::from).collect();
        let rows = Tensor::from_slice(&rows).view([-1, i64::from(length) + 1]);
        let expected = Decoder::new(&spec).unwrap().loss(&weights, &rows).unwrap();
        let expected = Vec::<f32>::try_from(expected).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * expected, "{name}: {found}, not {expected}");
        }
    }
}

#[test]
fn a_prediction_does_not_depend_on_what_fills_the_sequence() {
    for (name, spec) in families() {
        let (parameters, tokens) = (parameters(&spec), tokens(&spec, 1, 66));
        let mut whole = Evaluation::new(&spec, 1, 66).unwrap();
        let mut likeliest = Vec::new();
        for count in [1, 2, 33, 66] {
            let mut short = Evaluation::new(&spec, 1, count as u32).unwrap();
            let next = whole.predict(&parameters, &tokens[..count]).unwrap();
            assert_eq!(next, short.predict(&parameters, &tokens[..count]).unwrap(), "{name}");
            assert_eq!(next.hidden.len(), count * spec.width as usize);
            let best = next.logits.iter().copied().fold(f32::MIN, f32::max);
            let place = next.logits.iter().position(|&logit| logit == best).unwrap();
            likeliest.push((count, place as u32, next.predicted_loss));
        }
        let seen = whole.observe(&parameters, &tokens).unwrap();
        for (count, place, predicted) in likeliest {
            assert_eq!(seen.likeliest[count - 1], place, "{name}");
            assert_eq!(seen.predicted_losses.get(count - 1).copied(), predicted, "{name}");
        }
    }
}

#[test]
fn parts_of_a_model_are_observed() {
    for (name, spec) in families() {
        let [sequences, length] = SIZE;
        let count = (sequences * length) as usize;
        let (mut parameters, tokens) = (parameters(&spec), tokens(&spec, sequences, length));
        let mut evaluation = Evaluation::new(&spec, sequences, length).unwrap();
        let seen = evaluation.observe(&parameters, &tokens).unwrap();
        let Observations { losses, likeliest, confidence, .. } = &seen;
        assert_eq!([losses.len(), likeliest.len(), confidence.len()], [count; 3], "{name}");
        assert_eq!(bits(losses), bits(evaluation.token_losses()));
        let targets: Vec<u32> =
            tokens.chunks(length as usize + 1).flat_map(|row| row[1..].to_vec()).collect();
        let mut hits = 0;
        for token in 0..count {
            let (loss, confidence) = (losses[token], confidence[token]);
            assert!((0.0..=1.0).contains(&confidence), "{name}: {confidence}");
            // No token is likelier, and a right choice has the probability that the loss tells.
            assert!((-loss).exp() < confidence + 1e-5, "{name}: {loss} {confidence}");
            if likeliest[token] == targets[token] {
                hits += 1;
                assert!(((-loss).exp() - confidence).abs() < 1e-5, "{name}");
            }
        }
        assert!((1..count).contains(&hits), "{name}: {hits}");

        let introspects = spec.mind.introspection;
        assert_eq!(seen.predicted_losses.len(), if introspects { count } else { 0 });
        let blocks = usize::from(spec.layers);
        let branches = spec.mind.superposition.map_or(0, |sizes| usize::from(sizes.branches));
        assert_eq!(seen.amplitudes.len(), if branches > 0 { blocks } else { 0 });
        assert!(seen.amplitudes.iter().all(|values| values.len() == count * 2 * branches));
        let active = spec.experts.map_or(0, |experts| usize::from(experts.active));
        assert_eq!(seen.loads.len(), if active > 0 { blocks } else { 0 });
        let total = |loads: &Vec<u32>| loads.iter().sum::<u32>() as usize;
        assert!(seen.loads.iter().all(|loads| total(loads) == count * active), "{name}");

        if spec.mind.second_pass == 0 {
            assert!(seen.chosen.is_empty() && seen.first_losses.is_empty());
            continue;
        }
        let chosen = seen.chosen.iter().filter(|&&chosen| chosen).count();
        assert!((1..count).contains(&chosen), "{name}: {chosen}");
        // Tokens that are not chosen keep their losses, and a closed gate keeps all.
        for (token, &is_chosen) in seen.chosen.iter().enumerate() {
            assert!(is_chosen || seen.losses[token] == seen.first_losses[token], "{name}");
        }
        assert_ne!(seen.losses, seen.first_losses, "{name}");
        *parameters.last_mut().unwrap() = 0.0;
        let closed = evaluation.observe(&parameters, &tokens).unwrap();
        assert_eq!(closed.losses, seen.first_losses, "{name}");
        assert_eq!((closed.chosen, closed.first_losses), (seen.chosen, seen.first_losses));
    }
}

#[test]
fn memory_does_not_grow_with_blocks() {
    for (name, spec) in families() {
        let [sequences, length] = SIZE;
        let own = |layers| {
            let spec = ModelSpec { layers, ..spec };
            let evaluation = Evaluation::new(&spec, sequences, length);
            evaluation.ok().map(|evaluation| evaluation.bytes())
        };
        // Periods of blocks limit the number of them.
        let (Some(few), Some(many)) = (own(spec.layers), own(2 * spec.layers)) else { continue };
        assert_eq!(few, many, "{name}");
        let step = Step::new(&spec, sequences, length).unwrap().bytes();
        assert!(few * 5 < step * 4, "{name}: {few} of {step} bytes");
    }
}

#[test]
fn as_many_sequences_are_read_as_fit() {
    for (name, spec) in families() {
        let most = most_sequences(&spec, 70);
        assert!(most > 900 && Evaluation::new(&spec, most, 70).is_ok(), "{name}: {most}");
        let refused = Evaluation::new(&spec, most + 1, 70).err();
        let batch = Error::Batch { sequences: most + 1, length: 70, context: 70 };
        assert_eq!(refused, Some(batch), "{name}");
    }
    let long = ModelSpec { context: 1 << 20, ..families()[0].1 };
    for (length, most) in [(1, 1 << 18), (1 << 17, 2), (1 << 18, 1), ((1 << 18) + 1, 0)] {
        assert_eq!(most_sequences(&long, length), most, "{length}");
    }
    assert_eq!(most_sequences(&families()[0].1, 71), 0);
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let (_, spec) = families()[0];
    let (parameters, tokens) = (parameters(&spec), tokens(&spec, 2, 6));
    for (sequences, length) in [(0, 3), (2, 0), (1, 71), (u32::MAX, 70)] {
        let refused = Evaluation::new(&spec, sequences, length).err();
        assert_eq!(refused, Some(Error::Batch { sequences, length, context: 70 }));
    }
    let mut evaluation = Evaluation::new(&spec, 2, 6).unwrap();
    for (parameters, tokens) in
        [(&parameters[1..], &tokens[..]), (&parameters, &tokens[1..]), (&parameters, &[])]
    {
        let refused = evaluation.losses(parameters, tokens);
        assert!(matches!(refused, Err(Error::Length { .. })), "{refused:?}");
    }
    let mut foreign = tokens.clone();
    foreign[13] = spec.vocabulary;
    let refused = evaluation.observe(&parameters, &foreign);
    assert!(matches!(refused, Err(Error::Kernel(KernelError::Entry { .. }))), "{refused:?}");
    // A prediction is that of one sequence.
    let refused = evaluation.predict(&parameters, &tokens[..3]);
    assert_eq!(refused, Err(Error::Batch { sequences: 2, length: 3, context: 70 }));
    let mut alone = Evaluation::new(&spec, 1, 6).unwrap();
    assert!(alone.predict(&parameters, &tokens[..6]).is_ok());
    for count in [0, 7] {
        let refused = alone.predict(&parameters, &tokens[..count]);
        assert_eq!(refused, Err(Error::Batch { sequences: 1, length: count as u32, context: 70 }));
    }
}
