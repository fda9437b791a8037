// SPDX-License-Identifier: Apache-2.0

//! The choice of tokens, and gates that are closed.

use crate::{
    Plan, Step,
    layers::Run,
    memory::Choice,
    test_operators::{bits, draw, element, floats, op},
};
use pol_kernels::{Kernels, Scratch};
use pol_numerics::{Broadcast, Function, Op};
use pol_primitives::model::{Mind, ModelSpec};

/// Sequences, and tokens of each.
const S: u32 = 3;
const L: u32 = 70;

fn spec(second_pass: u16) -> ModelSpec {
    let mind = Mind { introspection: true, second_pass, ..Mind::default() };
    ModelSpec { mind, ..ModelSpec::gpt2(11, 6, 2, 2, 7, L) }
}

#[test]
fn the_choice_has_the_bits_of_its_operators() {
    let plan = Plan::new(&spec(1)).unwrap();
    let pass = plan.second_pass.as_ref().unwrap();
    // Equal predictions are near their mean.
    let mut predicted = draw((S * L) as usize, 1);
    predicted[..L as usize].fill(0.1f32.to_bits());
    let parameters = draw(plan.len(), 2);

    let [rows, columns] = [S, L];
    let sums = op(Op::CumulativeSum { rows, columns }, &[&predicted]);
    let counts: Vec<u32> = (1..=L).map(|count| (count as f32).to_bits()).collect();
    let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
    fn each(values: &[u32]) -> (Broadcast, &[u32]) {
        (Broadcast::Each, values)
    }
    let means = element(Function::Divide, L, [each(&sums), (Broadcast::Column, &counts), none]);
    let chosen = element(Function::Above, L, [each(&predicted), each(&means), none]);
    let gate = (Broadcast::One, &parameters[pass.gate.clone()]);
    let factors = element(Function::Multiply, L, [each(&chosen), gate, none]);

    let mut choice = Choice::new((S * L) as usize, L as usize);
    let run = Run {
        plan: &plan,
        kernels: Kernels::best(),
        tables: &[],
        scratch: &mut Scratch::default(),
        parameters: &floats(&parameters),
        sequences: S,
        length: L,
        has_auxiliary: true,
    };
    run.choose(pass, &floats(&predicted), &mut choice).unwrap();
    assert!(bits(&choice.chosen) == chosen && bits(&choice.factors) == factors);
    let count = choice.chosen[L as usize..].iter().filter(|&&chosen| chosen == 1.0).count();
    assert!((40..100).contains(&count), "{count}");
    // The first token of a sequence is never chosen.
    assert!(choice.chosen.chunks(L as usize).all(|row| row[0] == 0.0));
}

#[test]
fn a_closed_gate_changes_nothing_and_learns() {
    let [without, with] = [0, 1].map(|second_pass| Plan::new(&spec(second_pass)).unwrap());
    let mut parameters = floats(&draw(with.len(), 3));
    let gate = with.second_pass.as_ref().unwrap().gate.clone();
    parameters[gate.clone()].fill(0.0);
    let tokens: Vec<u32> = (0..S * (L + 1)).map(|i| i * i % 11).collect();
    let run = |plan: &Plan, parameters: &[f32]| {
        let mut step = Step::new(plan.spec(), S, L).unwrap();
        let mut gradient = vec![f32::NAN; plan.len()];
        let loss = step.gradient(parameters, &tokens, &mut gradient).unwrap();
        (loss, gradient)
    };
    // The gate is the last value.
    assert_eq!((gate.start, gate.end), (without.len(), with.len()));
    let (loss, expected) = run(&without, &parameters[..gate.start]);
    let (found, gradient) = run(&with, &parameters);
    assert_eq!(found, loss);
    assert_eq!(gradient[..gate.start], expected);
    assert!(gradient[gate.start].abs() > 1e-4);
    // An open gate does change it.
    parameters[gate.clone()].fill(0.5);
    let (found, gradient) = run(&with, &parameters);
    assert!(found != loss && gradient[..gate.start] != expected);
}
