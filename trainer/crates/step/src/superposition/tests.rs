// SPDX-License-Identifier: Apache-2.0

//! A superposition has the bits of its operators, each computed with integers alone.

use super::{Superposed, SuperpositionWork};
use crate::{
    layers::Run,
    plan::Plan,
    test_operators::{bits, both, columns, draw, element, floats, op, product},
};
use pol_kernels::{Kernels, Scratch};
use pol_numerics::{Broadcast, Chain, Function, Norm, NormKind, Op, Summand};
use pol_primitives::model::{self, Mind, ModelSpec};
use std::collections::BTreeMap;

/// Sequences, tokens of each, and all tokens.
const S: u32 = 2;
const L: u32 = 300;
const T: u32 = S * L;
/// Width.
const W: u32 = 5;

/// Numbers of branches and their ranks.
#[derive(Clone, Copy)]
struct Sizes {
    branches: u32,
    rank: u32,
}

const NAMES: [&str; 6] =
    ["amplitudes.weight", "branches.weight", "query.weight", "key.weight", "out.weight", "gate"];

/// Rows, and their statistics and values at unit size.
struct Unit {
    kind: NormKind,
    width: u32,
    values: Vec<u32>,
    statistics: Vec<u32>,
    scaled: Vec<u32>,
}

impl Unit {
    fn shape(kind: NormKind, width: u32) -> Norm {
        Norm { rows: T, width, kind, epsilon: 1e-6f32.to_bits(), weight: false, bias: false }
    }

    fn new(kind: NormKind, width: u32, values: Vec<u32>) -> Self {
        let shape = Self::shape(kind, width);
        let statistics = op(Op::NormStatistics(shape), &[&values]);
        let scaled = op(Op::Norm(shape), &[&values, &statistics, &[], &[]]);
        Self { kind, width, values, statistics, scaled }
    }

    fn gradient(&self, dy: &[u32]) -> Vec<u32> {
        let shape = Self::shape(self.kind, self.width);
        op(Op::NormGradient(shape), &[dy, &self.values, &self.statistics, &[]])
    }
}

/// Multiplies by a value for each row, column, or all.
fn scaled(values: &[u32], columns: u32, factor: (Broadcast, &[u32])) -> Vec<u32> {
    let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
    element(Function::Multiply, columns, [(Broadcast::Each, values), factor, none])
}

/// `a · b + c`, where each row of `a` has one value of `b`.
fn fused(columns: u32, a: &[u32], b: (Broadcast, &[u32]), c: &[u32]) -> Vec<u32> {
    let operands = [(Broadcast::Each, a), b, (Broadcast::Each, c)];
    element(Function::MultiplyAdd, columns, operands)
}

/// Columns `range` of rows.
fn part(values: &[u32], width: u32, range: std::ops::Range<u32>) -> Vec<u32> {
    let range = range.start as usize..range.end as usize;
    values.chunks(width as usize).flat_map(|row| &row[range.clone()]).copied().collect()
}

/// Copies each row for each branch.
fn repeat(values: &[u32], width: u32, count: u32) -> Vec<u32> {
    values.chunks(width as usize).flat_map(|row| row.repeat(count as usize)).collect()
}

/// Sets the pairs of a token with itself and later ones to zero.
fn hide(mut pairs: Vec<u32>) -> Vec<u32> {
    for (token, row) in pairs.chunks_mut(L as usize).enumerate() {
        row[token..].fill(0);
    }
    pairs
}

struct Definition<'a> {
    sizes: Sizes,
    parameters: BTreeMap<&'static str, Vec<u32>>,
    x: &'a [u32],
    dy: &'a [u32],
}

/// Values of the forward pass.
struct Forward {
    normed: Unit,
    amplitudes: Unit,
    query: Unit,
    key: Unit,
    states: Vec<u32>,
    parts: [Vec<u32>; 3],
    sums: [Vec<u32>; 3],
    mixed: Vec<u32>,
    outputs: Vec<u32>,
}

/// Gradients of branches' plain sums, queries, keys, and amplitudes.
type PairGradients = [Vec<u32>; 4];

impl Definition<'_> {
    fn project(&self, name: &str, [inner, columns]: [u32; 2], x: &[u32]) -> Vec<u32> {
        product([T, inner, columns], [false; 2], [x, &self.parameters[name]], None)
    }

    fn shares() -> Vec<u32> {
        (0..T).map(|token| (1.0 / (token % L).max(1) as f32).to_bits()).collect()
    }

    /// Places of a sequence's rows.
    fn rows(values: &[u32], sequence: u32, width: u32) -> &[u32] {
        &values[(sequence * L * width) as usize..][..(L * width) as usize]
    }

    /// Returns fits of queries and keys of a sequence, and overlaps of amplitudes.
    fn compare(&self, of: &Forward, sequence: u32) -> [Vec<u32>; 2] {
        let pairs = |left: &Unit, right: &Unit| {
            let width = left.width;
            let sides = [left, right].map(|unit| Self::rows(&unit.scaled, sequence, width));
            product([L, width, L], [false, true], sides, None)
        };
        [pairs(&of.query, &of.key), pairs(&of.amplitudes, &of.amplitudes)]
    }

    fn forward(&self) -> (Vec<u32>, Forward) {
        let Sizes { branches, rank } = self.sizes;
        let normed = Unit::new(NormKind::MeanSquare, W, self.x.to_vec());
        let unit = |name, width| {
            let values = self.project(name, [W, width], &normed.scaled);
            Unit::new(NormKind::SumOfSquares, width, values)
        };
        let amplitudes = unit("amplitudes.weight", 2 * branches);
        let (query, key) = (unit("query.weight", rank), unit("key.weight", rank));
        let states = self.project("branches.weight", [W, branches * rank], &normed.scaled);
        let real = part(&amplitudes.scaled, 2 * branches, 0..branches);
        let imaginary = part(&amplitudes.scaled, 2 * branches, branches..2 * branches);
        let square = both(Function::Multiply, &imaginary, &imaginary);
        let sizes = fused(1, &real, (Broadcast::Each, &real), &square);
        let chain = Op::Chain(Chain { outer: T, length: branches, inner: rank, weighted: true });
        let sum = |part: &[u32]| op(chain, &[&states, part]);
        let sums = [sum(&real), sum(&imaginary), sum(&sizes)];
        let alone = op(chain, &[&both(Function::Multiply, &states, &states), &sizes]);
        let square = both(Function::Multiply, &sums[1], &sums[1]);
        let intensity = fused(1, &sums[0], (Broadcast::Each, &sums[0]), &square);
        let interference = both(Function::Subtract, &intensity, &alone);
        let mixed = both(Function::Add, &sums[2], &interference);
        let parts = [real, imaginary, sizes];
        let outputs = Vec::new();
        let mut of =
            Forward { normed, amplitudes, query, key, states, parts, sums, mixed, outputs };
        let mut entangled = Vec::new();
        for sequence in 0..S {
            let [fits, overlaps] = self.compare(&of, sequence);
            let coupling = hide(both(Function::Multiply, &fits, &overlaps));
            let plain = Self::rows(&of.sums[2], sequence, rank);
            entangled.extend(product([L, L, rank], [false; 2], [&coupling, plain], None));
        }
        let entangled = scaled(&entangled, rank, (Broadcast::Row, &Self::shares()));
        of.mixed = both(Function::Add, &of.mixed, &entangled);
        of.outputs = self.project("out.weight", [rank, W], &of.mixed);
        let gate = (Broadcast::Column, &self.parameters["gate"][..]);
        (fused(W, &of.outputs, gate, self.x), of)
    }

    /// Returns gradients of what a sequence's pairs are made of, given that of their sums.
    fn pair_gradients(&self, of: &Forward, sequence: u32, dy: &[u32]) -> PairGradients {
        let Sizes { branches, rank } = self.sizes;
        let [fits, overlaps] = self.compare(of, sequence);
        let coupling = hide(both(Function::Multiply, &fits, &overlaps));
        let plain = Self::rows(&of.sums[2], sequence, rank);
        let of_plain = product([L, L, rank], [true, false], [&coupling, dy], None);
        let of_coupling = hide(product([L, rank, L], [false, true], [dy, plain], None));
        let of_fits = both(Function::Multiply, &of_coupling, &overlaps);
        let of_overlaps = both(Function::Multiply, &of_coupling, &fits);
        let side = |pairs: &[u32], transposed, other: &Unit| {
            let other = Self::rows(&other.scaled, sequence, other.width);
            let width = other.len() as u32 / L;
            product([L, L, width], [transposed, false], [pairs, other], None)
        };
        assert_eq!(of.amplitudes.width, 2 * branches);
        let own = side(&of_overlaps, false, &of.amplitudes);
        let others = side(&of_overlaps, true, &of.amplitudes);
        [
            of_plain,
            side(&of_fits, false, &of.key),
            side(&of_fits, true, &of.query),
            both(Function::Add, &own, &others),
        ]
    }

    /// Returns gradients of states and amplitudes from those of what branches mix to and of plain
    /// sums.
    fn mix_gradient(&self, of: &Forward, du: &[u32], dp: &[u32]) -> [Vec<u32>; 2] {
        let Sizes { branches, rank } = self.sizes;
        let two = (Broadcast::One, &[2f32.to_bits()][..]);
        let doubled = scaled(du, rank, two);
        let sum = Op::Sum { rows: T * branches, columns: rank, of: Summand::Products };
        let spread = |values: &[u32]| repeat(values, rank, branches);
        let of_psi = [0, 1].map(|i| spread(&both(Function::Multiply, &doubled, &of.sums[i])));
        let of_parts = [0, 1].map(|i| op(sum, &[&of.states, &of_psi[i]]));
        let of_states = scaled(&of_psi[0], rank, (Broadcast::Row, &of.parts[0]));
        let of_states = fused(rank, &of_psi[1], (Broadcast::Row, &of.parts[1]), &of_states);
        let squared = both(Function::Multiply, &spread(du), &of.states);
        let less = both(Function::Subtract, &spread(dp), &squared);
        let of_sizes = op(sum, &[&of.states, &less]);
        let twice_less = both(Function::Subtract, &less, &squared);
        let of_states = fused(rank, &twice_less, (Broadcast::Row, &of.parts[2]), &of_states);
        let twice = scaled(&of_sizes, 1, two);
        let total = |i: usize| fused(1, &of.parts[i], (Broadcast::Each, &twice), &of_parts[i]);
        let [real, imaginary] = [total(0), total(1)];
        let count = branches as usize;
        let both = real.chunks(count).zip(imaginary.chunks(count));
        [of_states, both.flat_map(|(real, imaginary)| [real, imaginary].concat()).collect()]
    }

    fn backward(&self, of: &Forward) -> (Vec<u32>, BTreeMap<&'static str, Vec<u32>>) {
        let Sizes { branches, rank } = self.sizes;
        let gate = (Broadcast::Column, &self.parameters["gate"][..]);
        let of_gate = columns(&both(Function::Multiply, self.dy, &of.outputs), W);
        let dy = scaled(self.dy, W, gate);
        let back = |name: &str, [inner, columns]: [u32; 2], dy: &[u32]| {
            product([T, inner, columns], [false, true], [dy, &self.parameters[name]], None)
        };
        let weight = |x: &[u32], [rows, columns]: [u32; 2], dy: &[u32]| {
            product([rows, T, columns], [true, false], [x, dy], None)
        };
        let of_out = weight(&of.mixed, [rank, W], &dy);
        let du = back("out.weight", [W, rank], &dy);
        let shared = scaled(&du, rank, (Broadcast::Row, &Self::shares()));
        let mut of_pairs = PairGradients::default();
        for sequence in 0..S {
            let dy = Self::rows(&shared, sequence, rank);
            let gradients = self.pair_gradients(of, sequence, dy);
            of_pairs.iter_mut().zip(gradients).for_each(|(all, of_one)| all.extend(of_one));
        }
        let [of_plain, of_query, of_key, of_overlaps] = of_pairs;
        let dp = both(Function::Add, &of_plain, &du);
        let [of_states, of_mixed] = self.mix_gradient(of, &du, &dp);
        let of_amplitudes = both(Function::Add, &of_overlaps, &of_mixed);
        let sides = [
            ("amplitudes.weight", 2 * branches, of.amplitudes.gradient(&of_amplitudes)),
            ("branches.weight", branches * rank, of_states),
            ("query.weight", rank, of.query.gradient(&of_query)),
            ("key.weight", rank, of.key.gradient(&of_key)),
        ];
        let mut gradients = BTreeMap::from([("out.weight", of_out), ("gate", of_gate)]);
        let mut of_normed = Vec::new();
        for (name, width, dy) in sides {
            gradients.insert(name, weight(&of.normed.scaled, [W, width], &dy));
            let through = back(name, [width, W], &dy);
            of_normed = match of_normed.is_empty() {
                true => through,
                false => both(Function::Add, &through, &of_normed),
            };
        }
        let of_x = both(Function::Add, self.dy, &of.normed.gradient(&of_normed));
        (of_x, gradients)
    }
}

fn compare(sizes: Sizes) {
    let Sizes { branches, rank } = sizes;
    let superposition = Some(model::Superposition { branches: branches as u8, rank: rank as u16 });
    let mind = Mind { superposition, ..Mind::default() };
    let spec = ModelSpec { mind, ..ModelSpec::gpt2(11, W, 1, 1, 7, L) };
    let plan = Plan::new(&spec).unwrap();
    let [x, dy] = [1, 2].map(|seed| draw((T * W) as usize, seed));
    let parameters = draw(plan.len(), 3);
    let place = |name: &str| {
        let mut slots = plan.slots().iter();
        let name = format!("h.0.mind.{name}");
        slots.find(|slot| slot.parameter.name == name).unwrap().range.clone()
    };
    let tensors = NAMES.map(|name| (name, parameters[place(name)].to_vec())).into();
    let definition = Definition { sizes, parameters: tensors, x: &x, dy: &dy };
    let (expected, of) = definition.forward();
    let (of_x, gradients) = definition.backward(&of);
    let parameters = floats(&parameters);
    // Pairs at once, and in parts.
    for part in [L as usize, 256] {
        let mut memory = Superposed::new(&plan, T as usize);
        let mut work = SuperpositionWork::new(&plan, S as usize, L as usize);
        assert_eq!(work.part, L as usize);
        work.part = part;
        let mut run = Run {
            plan: &plan,
            kernels: Kernels::best(),
            tables: &[],
            scratch: &mut Scratch::default(),
            parameters: &parameters,
            sequences: S,
            length: L,
            has_auxiliary: true,
        };
        let layer = plan.blocks[0].superposition.as_ref().unwrap();
        memory.stream.values = floats(&x);
        let [mut out, mut other, mut third] = [(); 3].map(|()| vec![f32::NAN; x.len()]);
        let mut stream = floats(&dy);
        let mut gradient = vec![f32::NAN; plan.len()];
        run.superposition(layer, &mut memory, &mut work, &mut out).unwrap();
        let streams = [&mut stream, &mut other, &mut third];
        run.superposition_gradient(layer, &memory, streams, &mut gradient, &mut work).unwrap();
        assert!(bits(&out) == expected);
        assert!(bits(&stream) == of_x);
        for name in NAMES {
            assert!(bits(&gradient[place(name)]) == gradients[name], "{name}");
        }
        // Other tensors are not touched.
        let others = gradient.iter().filter(|value| value.is_nan()).count();
        assert_eq!(others, plan.len() - place("gate").end + place("amplitudes.weight").start);
    }
}

#[test]
fn bits_are_those_of_the_operators() {
    for (branches, rank) in [(3, 2), (2, 5), (5, 1)] {
        compare(Sizes { branches, rank });
    }
}
