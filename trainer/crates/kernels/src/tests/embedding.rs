// SPDX-License-Identifier: Apache-2.0

use super::{Draw, VALUES, bits, check, defined, with_threads};
use crate::{Error, Kernels};
use pol_numerics::Op;

#[test]
fn embeddings_and_their_gradients_are_as_defined() {
    for (rows, entries, width) in [(50, 7, 5), (400, 301, 33), (0, 3, 4), (3, 2, 0), (2, 1, 20_000)]
    {
        for of in VALUES {
            let mut draw = Draw(1);
            let tokens: Vec<u32> = (0..rows).map(|_| draw.next() as u32 % entries).collect();
            let table = draw.values((entries * width) as usize, of);
            let gradient = draw.values((rows * width) as usize, of);
            let shape = [rows, entries, width];
            let op = Op::Embedding { rows, entries, width };
            check(&defined(&op, &[&bits(&table), &tokens]), "rows", |kernels, _, out| {
                kernels.embedding(shape, &table, &tokens, out).unwrap();
            });
            let op = Op::EmbeddingGradient { rows, entries, width };
            let expected = defined(&op, &[&bits(&gradient), &tokens]);
            check(&expected, "gradient", |kernels, by, out| {
                with_threads(by + 1, || {
                    kernels.embedding_gradient(shape, &gradient, &tokens, false, out).unwrap();
                });
            });
            let mut sums = table.clone();
            let expected: Vec<f32> = expected.into_iter().map(f32::from_bits).collect();
            Kernels::best().add(&expected, &mut sums).unwrap();
            check(&bits(&sums), "added gradient", |kernels, by, out| {
                out.copy_from_slice(&table);
                with_threads(by + 1, || {
                    kernels.embedding_gradient(shape, &gradient, &tokens, true, out).unwrap();
                });
            });
        }
    }
}

#[test]
fn tokens_in_another_order_have_another_gradient() {
    let gradient = Draw(2).values(600, super::Values::Plain);
    let run = |gradient: &[f32]| {
        let mut out = [0.0; 6];
        let shape = [200, 2, 3];
        Kernels::best().embedding_gradient(shape, gradient, &[1; 200], false, &mut out).unwrap();
        bits(&out)
    };
    let mut reversed = gradient.clone();
    reversed.reverse();
    let mut expected = run(&gradient);
    expected[3..].reverse();
    assert_ne!(run(&reversed), expected);
}

#[test]
fn tokens_beyond_the_table_are_errors() {
    let (mut out, refused) = ([0.0; 4], Error::Entry { tensor: "tokens", entry: 2, bound: 2 });
    let kernels = Kernels::best();
    assert_eq!(kernels.embedding([2, 2, 2], &[0.0; 4], &[0, 2], &mut out), Err(refused));
    let found = kernels.embedding_gradient([2, 2, 2], &[0.0; 4], &[0, 2], false, &mut out);
    assert_eq!(found, Err(refused));
}

#[test]
fn experts_are_chosen_as_defined() {
    for of in VALUES {
        for (rows, count, active) in [(60, 7, 3), (5, 255, 255), (4, 1, 1), (3, 4, 0), (2, 0, 0)] {
            let mut draw = Draw(3);
            let mut scores = draw.values((rows * count) as usize, of);
            // Ties.
            scores.iter_mut().step_by(3).for_each(|score| *score = 0.5);
            let biases = draw.values(count as usize, of);
            let expected =
                defined(&Op::Choice { rows, count, active }, &[&bits(&scores), &bits(&biases)]);
            let mut out = vec![9; expected.len()];
            Kernels::best().choice([rows, count, active], &scores, &biases, &mut out).unwrap();
            assert_eq!(out, expected, "{rows} {count} {active} {of:?}");
        }
    }
}
