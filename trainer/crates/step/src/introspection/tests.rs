// SPDX-License-Identifier: Apache-2.0

//! Introspection has the bits of its operators, each computed with integers alone.

use super::Introspection;
use crate::{
    Step,
    layers::Run,
    plan::Plan,
    test_operators::{bits, both, columns, draw, element, floats, op, product},
};
use pol_kernels::{Kernels, Scratch};
use pol_numerics::{Broadcast, Function, Op, Summand};
use pol_primitives::model::{Mind, ModelSpec};

/// Tokens, and width.
const T: u32 = 300;
const W: u32 = 5;

#[test]
fn bits_are_those_of_the_operators() {
    let mind = Mind { introspection: true, ..Mind::default() };
    let spec = ModelSpec { mind, ..ModelSpec::gpt2(11, W, 1, 1, 7, T) };
    let plan = Plan::new(&spec).unwrap();
    let (hidden, losses) = (draw((T * W) as usize, 1), draw(T as usize, 2));
    let parameters = draw(plan.len(), 3);
    let head = plan.introspection.as_ref().unwrap();
    let (weight, bias) = (head.weight.clone(), head.bias.clone().unwrap());

    let pair = [&hidden[..], &parameters[weight.clone()]];
    let predicted = product([T, W, 1], [false; 2], pair, Some(&parameters[bias.clone()]));
    let differences = both(Function::Subtract, &predicted, &losses);
    let sum = Op::Sum { rows: 1, columns: T, of: Summand::Squares };
    let squares = f32::from_bits(op(sum, &[&differences])[0]);
    let factor = [((0.01 / f64::from(T)) as f32).to_bits()];
    let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
    let operands = [(Broadcast::Each, &differences[..]), (Broadcast::One, &factor), none];
    let of_predicted = element(Function::Multiply, 1, operands);
    let of_weight = product([W, T, 1], [true, false], [&hidden, &of_predicted], None);

    let (hidden, losses, parameters) = (floats(&hidden), floats(&losses), floats(&parameters));
    for has_auxiliary in [true, false] {
        let mut run = Run {
            plan: &plan,
            kernels: Kernels::best(),
            tables: &[],
            scratch: &mut Scratch::default(),
            parameters: &parameters,
            sequences: 1,
            length: T,
            has_auxiliary,
        };
        let mut memory = Introspection::new(T as usize);
        let mut gradient = vec![f32::NAN; plan.len()];
        let pair = [&hidden[..], &losses];
        run.introspection(head, pair, &mut memory, Some(&mut gradient)).unwrap();
        assert!(bits(&memory.predicted) == predicted);
        assert_eq!(memory.loss, squares / T as f32 * 0.005);
        let found = [&weight, &bias].map(|range| bits(&gradient[range.clone()]));
        if has_auxiliary {
            assert_eq!(found, [of_weight.clone(), columns(&of_predicted, 1)]);
        } else {
            assert_eq!(found, [vec![0; W as usize], vec![0]]);
        }
        // Nothing else has a gradient.
        let others = gradient.iter().filter(|value| value.is_nan()).count();
        assert_eq!(others, plan.len() - W as usize - 1);
    }
}

#[test]
fn introspection_watches_and_does_not_steer() {
    let plain = ModelSpec::gpt2(11, W, 2, 1, 7, 70);
    let watched = ModelSpec { mind: Mind { introspection: true, ..Mind::default() }, ..plain };
    // The head's tensors are the last.
    let parameters = floats(&draw(Plan::new(&watched).unwrap().len(), 3));
    let tokens: Vec<u32> = (0..2 * 71).map(|i| i * i % 11).collect();
    let run = |spec: &ModelSpec| {
        let mut step = Step::new(spec, 2, 70).unwrap();
        let mut gradient = vec![f32::NAN; step.plan().len()];
        let parameters = &parameters[..gradient.len()];
        let loss = step.gradient(parameters, &tokens, &mut gradient).unwrap();
        (loss, gradient)
    };
    let ((loss, gradient), (expected_loss, expected)) = (run(&watched), run(&plain));
    assert_eq!(loss, expected_loss);
    let (others, of_head) = gradient.split_at(expected.len());
    assert!(bits(others) == bits(&expected));
    assert!(of_head.iter().all(|&value| value != 0.0));
}
