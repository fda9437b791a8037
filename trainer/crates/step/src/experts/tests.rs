// SPDX-License-Identifier: Apache-2.0

//! A layer of experts has the bits of its operators, each computed with integers alone.

use crate::{
    layers::Run,
    memory::{FeedForwardMemory, FeedForwardWork},
    plan::Plan,
    test_operators::{bits, both, columns, draw, element, floats, op, product, rows},
};
use pol_kernels::{Kernels, Scratch};
use pol_numerics::{Broadcast, Chain, Function, Op, Summand};
use pol_primitives::model::{Activation, Experts, ModelSpec};
use std::collections::BTreeMap;

/// Tokens, width, width inside an expert, experts, and those of a token.
const T: u32 = 300;
const W: u32 = 5;
const H: u32 = 7;
const C: u32 = 4;
const A: u32 = 2;

fn spec() -> ModelSpec {
    let experts = Experts { count: C as u8, active: A as u8, balance: 300_000, z: 70_000 };
    ModelSpec {
        activation: Activation::Silu,
        gated: true,
        experts: Some(experts),
        ..ModelSpec::gpt2(11, W, 1, 1, H, T)
    }
}

/// Outputs and gradients of a layer by the definition.
struct Defined {
    out: Vec<u32>,
    of_x: Vec<u32>,
    gradients: BTreeMap<&'static str, Vec<u32>>,
    auxiliary_loss: f32,
}

/// An expert's values that its gradient needs.
struct Expert {
    tokens: Vec<u32>,
    /// Places among the choices of all tokens.
    choices: Vec<usize>,
    inputs: Vec<u32>,
    gate: Vec<u32>,
    up: Vec<u32>,
    hidden: Vec<u32>,
    outputs: Vec<u32>,
}

/// Parameters by their names.
struct Definition<'a> {
    parameters: BTreeMap<&'static str, Vec<u32>>,
    x: &'a [u32],
    dy: &'a [u32],
}

const NAMES: [&str; 8] = [
    "router.weight",
    "router.bias",
    "c_gate.weight",
    "c_gate.bias",
    "c_fc.weight",
    "c_fc.bias",
    "c_proj.weight",
    "c_proj.bias",
];

impl Definition<'_> {
    /// Returns a tensor of one expert.
    fn of(&self, name: &'static str, expert: usize) -> &[u32] {
        let all = &self.parameters[name];
        let len = all.len() / C as usize;
        &all[expert * len..][..len]
    }

    fn expert(&self, index: usize, chosen: &[u32]) -> Expert {
        let choices = (0..chosen.len()).filter(|&choice| chosen[choice] == index as u32);
        let choices: Vec<usize> = choices.collect();
        let tokens: Vec<u32> = choices.iter().map(|&choice| choice as u32 / A).collect();
        let (count, inputs) = (tokens.len() as u32, rows(self.x, &tokens, W));
        let linear = |weight, bias, [inner, columns]: [u32; 2], x: &[u32]| {
            let (weight, bias) = (self.of(weight, index), self.of(bias, index));
            product([count, inner, columns], [false; 2], [x, weight], Some(bias))
        };
        let gate = linear("c_gate.weight", "c_gate.bias", [W, H], &inputs);
        let up = linear("c_fc.weight", "c_fc.bias", [W, H], &inputs);
        let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
        let active = element(Function::Silu, 1, [(Broadcast::Each, &gate), none, none]);
        let hidden = both(Function::Multiply, &active, &up);
        let outputs = linear("c_proj.weight", "c_proj.bias", [H, W], &hidden);
        Expert { tokens, choices, inputs, gate, up, hidden, outputs }
    }

    /// Returns gradients of an expert's parameters, its inputs, and its gates.
    fn expert_gradient(
        &self,
        index: usize,
        expert: &Expert,
        gates: &[u32],
    ) -> ([Vec<u32>; 6], Vec<u32>, Vec<u32>) {
        let Expert { tokens, choices, inputs, gate, up, hidden, outputs } = expert;
        let count = tokens.len() as u32;
        let upstream = rows(self.dy, tokens, W);
        let sum = Op::Sum { rows: count, columns: W, of: Summand::Products };
        let of_gates = op(sum, &[outputs, &upstream]);
        let gates: Vec<u32> = choices.iter().map(|&choice| gates[choice]).collect();
        let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
        let operands = [(Broadcast::Each, &upstream[..]), (Broadcast::Row, &gates), none];
        let upstream = element(Function::Multiply, W, operands);
        let weight = |[rows, columns]: [u32; 2], x: &[u32], dy: &[u32]| {
            product([rows, count, columns], [true, false], [x, dy], None)
        };
        let back = |name, [inner, columns]: [u32; 2], dy: &[u32]| {
            product([count, inner, columns], [false, true], [dy, self.of(name, index)], None)
        };
        let of_hidden = back("c_proj.weight", [W, H], &upstream);
        let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
        let active = element(Function::Silu, 1, [(Broadcast::Each, gate), none, none]);
        let of_up = both(Function::Multiply, &of_hidden, &active);
        let of_gate = both(Function::SiluSlope, &both(Function::Multiply, &of_hidden, up), gate);
        let of_inputs = both(
            Function::Add,
            &back("c_gate.weight", [H, W], &of_gate),
            &back("c_fc.weight", [H, W], &of_up),
        );
        let gradients = [
            weight([W, H], inputs, &of_gate),
            columns(&of_gate, H),
            weight([W, H], inputs, &of_up),
            columns(&of_up, H),
            weight([H, W], hidden, &upstream),
            columns(&upstream, W),
        ];
        (gradients, of_inputs, of_gates)
    }

    /// Returns the weighted sum of the auxiliary losses.
    fn auxiliary_loss(&self, scores: &[u32], shares: &[f32]) -> f32 {
        let shares: Vec<u32> = shares.iter().map(|share| share.to_bits()).collect();
        let sum = |rows: &[u32], others: &[u32]| {
            let shape = Op::Sum { rows: 1, columns: rows.len() as u32, of: Summand::Products };
            f32::from_bits(op(shape, &[rows, others])[0])
        };
        let sums = columns(&op(Op::Softmax { rows: T, columns: C }, &[scores]), C);
        let means: Vec<u32> =
            floats(&sums).into_iter().map(|sum| (sum / T as f32).to_bits()).collect();
        let excesses: Vec<u32> =
            floats(&shares).into_iter().map(|share| (share - 0.25).to_bits()).collect();
        let spread =
            C as f32 * sum(&means, &shares) + sum(&self.parameters["router.bias"], &excesses);
        let logarithms = op(Op::LogSumExp { rows: T, columns: C }, &[scores]);
        0.3 * spread + 0.07 * (sum(&logarithms, &logarithms) / T as f32)
    }

    /// Returns the gradient of the auxiliary losses for scores.
    fn auxiliary_gradient(&self, scores: &[u32], shares: &[f32]) -> Vec<u32> {
        let of_share = (0.3 * (f64::from(C) / f64::from(T))) as f32;
        let pulls: Vec<u32> = shares.iter().map(|share| (share * of_share).to_bits()).collect();
        let pulls = pulls.repeat(T as usize);
        let probabilities = op(Op::Softmax { rows: T, columns: C }, &[scores]);
        let gradient = Op::SoftmaxGradient { rows: T, columns: C };
        let of_balance = op(gradient, &[&pulls, &probabilities]);
        let logarithms = floats(&op(Op::LogSumExp { rows: T, columns: C }, &[scores]));
        let of_logarithm = (0.07 * (2.0 / f64::from(T))) as f32;
        let pushes: Vec<u32> =
            logarithms.iter().map(|logarithm| (logarithm * of_logarithm).to_bits()).collect();
        let operands = [
            (Broadcast::Each, &probabilities[..]),
            (Broadcast::Row, &pushes),
            (Broadcast::Each, &of_balance),
        ];
        element(Function::MultiplyAdd, C, operands)
    }

    fn compute(&self, has_auxiliary: bool) -> Defined {
        let router = &self.parameters["router.weight"];
        let scores = product([T, W, C], [false; 2], [self.x, router], None);
        let choice = Op::Choice { rows: T, count: C, active: A };
        let chosen = op(choice, &[&scores, &self.parameters["router.bias"]]);
        let place = |choice: usize| choice as u32 / A * C + chosen[choice];
        let picked: Vec<u32> =
            (0..chosen.len()).map(|choice| scores[place(choice) as usize]).collect();
        let gates = op(Op::Softmax { rows: T, columns: A }, &[&picked]);
        let experts: Vec<Expert> =
            (0..C as usize).map(|index| self.expert(index, &chosen)).collect();
        let width = W as usize;
        let mut outputs = vec![0; chosen.len() * width];
        let (mut of_gates, mut of_rows, mut tokens) = (vec![0; chosen.len()], vec![], vec![]);
        let mut gradients = BTreeMap::<&str, Vec<u32>>::new();
        for (index, expert) in experts.iter().enumerate() {
            let (of_parameters, of_inputs, products) = self.expert_gradient(index, expert, &gates);
            for (row, &choice) in expert.choices.iter().enumerate() {
                let values = &expert.outputs[row * width..][..width];
                outputs[choice * width..][..width].copy_from_slice(values);
                of_gates[choice] = products[row];
            }
            for (name, gradient) in NAMES[2..].iter().zip(of_parameters) {
                gradients.entry(name).or_default().extend(gradient);
            }
            of_rows.extend(of_inputs);
            tokens.extend(&expert.tokens);
        }
        let sum = Chain { outer: T, length: A, inner: W, weighted: true };
        let out = op(Op::Chain(sum), &[&outputs, &gates]);
        let of_picked = op(Op::SoftmaxGradient { rows: T, columns: A }, &[&of_gates, &gates]);
        let mut of_scores = vec![0; scores.len()];
        for (choice, &gradient) in of_picked.iter().enumerate() {
            of_scores[place(choice) as usize] = gradient;
        }
        let loads: Vec<usize> = experts.iter().map(|expert| expert.tokens.len()).collect();
        let shares: Vec<f32> = loads.iter().map(|&load| load as f32 / (T * A) as f32).collect();
        if has_auxiliary {
            let of_auxiliary = self.auxiliary_gradient(&scores, &shares);
            of_scores = both(Function::Add, &of_scores, &of_auxiliary);
        }
        let weight = if has_auxiliary { 0.3 } else { 0.0 };
        let of_bias = shares.iter().map(|share| ((share - 0.25) * weight).to_bits()).collect();
        gradients.insert("router.bias", of_bias);
        let of_router = product([W, T, C], [true, false], [self.x, &of_scores], None);
        gradients.insert("router.weight", of_router);
        let through = product([T, C, W], [false, true], [&of_scores, router], None);
        let back = Op::EmbeddingGradient { rows: T * A, entries: T, width: W };
        let of_x = both(Function::Add, &through, &op(back, &[&of_rows, &tokens]));
        let auxiliary_loss = self.auxiliary_loss(&scores, &shares);
        Defined { out, of_x, gradients, auxiliary_loss }
    }
}

#[test]
fn bits_are_those_of_the_operators() {
    let (spec, plan) = (spec(), Plan::new(&spec()).unwrap());
    let [x, dy] = [1, 2].map(|seed| draw((T * W) as usize, seed));
    let mut parameters = draw(plan.len(), 3);
    let place = |name: &str| {
        let slots = plan.slots().iter();
        let mut found = slots.filter(|slot| slot.parameter.name == format!("h.0.mlp.{name}"));
        found.next().unwrap().range.clone()
    };
    // Expert 1 gets no tokens, and expert 2 all.
    let biases = place("router.bias").start;
    [parameters[biases + 1], parameters[biases + 2]] = [-4f32, 4.0].map(f32::to_bits);
    let tensors = NAMES.map(|name| (name, parameters[place(name)].to_vec())).into();
    let definition = Definition { parameters: tensors, x: &x, dy: &dy };
    let (x, dy, parameters) = (floats(&x), floats(&dy), floats(&parameters));
    for has_auxiliary in [true, false] {
        let expected = definition.compute(has_auxiliary);
        let mut memory = FeedForwardMemory::new(&spec, T as usize);
        let mut work = FeedForwardWork::new(&spec, T as usize);
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
        let block = &plan.blocks[0];
        let layer = (&block.feed_forward, block.router.as_ref().unwrap());
        let [mut out, mut of_x] = [(); 2].map(|()| vec![f32::NAN; x.len()]);
        let mut gradient = vec![f32::NAN; plan.len()];
        run.experts(layer, &x, &mut memory, &mut work, None, &mut out).unwrap();
        let pair = [&x[..], &dy];
        run.experts_gradient(layer, pair, &memory, &mut gradient, &mut work, &mut of_x).unwrap();
        // More than a chain of tokens.
        assert_eq!(memory.routing.loads[1..3], [0, T]);
        assert!(bits(&out) == expected.out);
        let loss = memory.routing.auxiliary_loss;
        assert_eq!(loss.to_bits(), expected.auxiliary_loss.to_bits());
        assert!(bits(&of_x) == expected.of_x);
        for name in NAMES {
            assert!(bits(&gradient[place(name)]) == expected.gradients[name], "{name}");
        }
    }
}
