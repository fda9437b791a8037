// SPDX-License-Identifier: Apache-2.0

//! Prints the speed of kernels on every instruction set of this machine.
//!
//! ```sh
//! cargo run --release -p pol-kernels --example speed -- 1   # threads
//! ```

use pol_kernels::{AdamWState, AttentionUpstream, Error, Kernels, Scratch};
use pol_numerics::*;
use std::time::Instant;

/// Returns the shortest time of several runs, in seconds.
fn shortest(mut run: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    run()?;
    let mut best = f64::INFINITY;
    for _ in 0..9 {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn values(len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect()
}

/// Prints the speed of products, in 10^9 operations in a second, for the three directions.
fn products(kernels: Kernels) -> Result<(), Error> {
    for [tokens, inputs, outputs] in
        [[512, 128, 512], [1_024, 768, 768], [1_024, 576, 1_536], [1_024, 768, 3_072]]
    {
        let directions = [
            ("x · wᵀ", [tokens, inputs, outputs], [false, true]),
            ("dy · w", [tokens, outputs, inputs], [false, false]),
            ("dyᵀ · x", [outputs, tokens, inputs], [true, false]),
        ];
        for (name, [rows, inner, columns], [left_transposed, right_transposed]) in directions {
            let shape =
                Product { rows, inner, columns, left_transposed, right_transposed, bias: false };
            let size = |a: u32, b: u32| a as usize * b as usize;
            let (left, right) = (values(size(rows, inner)), values(size(inner, columns)));
            let (mut out, mut scratch) = (vec![0.0; size(rows, columns)], Scratch::default());
            let seconds =
                shortest(|| kernels.product(&shape, &left, &right, None, &mut out, &mut scratch))?;
            let operations = 2.0 * f64::from(rows) * f64::from(inner) * f64::from(columns);
            let speed = operations / seconds / 1e9;
            println!("{:8} {name:8} {rows:5} {inner:5} {columns:5} {speed:8.1}", kernels.name());
        }
    }
    Ok(())
}

/// Prints the speed of attention, forward and backward, counted as the products of what is seen.
fn attention(kernels: Kernels) -> Result<(), Error> {
    for [length, heads, size] in [[128, 4, 32], [1_024, 12, 64], [2_048, 9, 64]] {
        let (scale, part) = (0.125f32.to_bits(), AttentionPart::Output);
        let (shared, window, cap) = (heads, None, None);
        let shape = Attention { part, length, heads, shared, size, window, scale, cap };
        let len = length as usize * heads as usize * size as usize;
        let rows = length as usize * heads as usize;
        let (x, along) = (values(len), vec![0.5; rows]);
        let inputs = &values(len * 3);
        let (mut out, mut logarithms, mut scratch) =
            (vec![0.0; len], vec![0.0; rows], Scratch::default());
        let forward = shortest(|| {
            kernels.attention(&shape, 1, inputs, &mut out, &mut logarithms, &mut scratch)
        })?;
        let mut gradient = vec![0.0; len * 3];
        let upstream =
            AttentionUpstream { gradient: &x, logarithms: &logarithms, products: &along };
        let backward = shortest(|| {
            kernels.attention_gradient(&shape, 1, inputs, upstream, &mut gradient, &mut scratch)
        })?;
        let pairs = f64::from(length) * f64::from(length + 1) / 2.0 * f64::from(heads);
        let product = 2.0 * pairs * f64::from(size) / 1e9;
        let (forward, backward) = (2.0 * product / forward, 5.0 * product / backward);
        let name = kernels.name();
        println!("{name:8} attention {length:5} {heads:3} {size:3} {forward:8.1} {backward:8.1}");
    }
    Ok(())
}

/// Prints the time of operators on rows, in nanoseconds for each value.
fn rows(kernels: Kernels) -> Result<(), Error> {
    let (rows, width) = (512, 768);
    let len = rows as usize * width as usize;
    let (x, mut out) = (values(len), vec![0.0; len]);
    let kind = NormKind::Layer;
    let norm = Norm { rows, width, kind, epsilon: 0, weight: false, bias: false };
    let mut statistics = vec![0.0; rows as usize * 2];
    let operands = [Broadcast::Each; 3];
    let element = |function| Element { function, rows, columns: width, operands };
    let print = |what: &str, seconds: f64| {
        println!("{:8} {what:20} {:8.3}", kernels.name(), seconds / len as f64 * 1e9);
    };
    let mut sums = vec![0.0; rows as usize];
    let squares = Summand::Squares;
    print("squares", shortest(|| kernels.row_sums([rows, width], squares, &x, None, &mut sums))?);
    print("statistics", shortest(|| kernels.norm_statistics(&norm, &x, &mut statistics))?);
    print("norm", shortest(|| kernels.norm(&norm, &x, &statistics, None, None, &mut out))?);
    let run = || kernels.norm_gradient(&norm, &x, &x, &statistics, None, &mut out);
    print("gradient of norm", shortest(run)?);
    let weight = &mut vec![0.0; width as usize];
    let run = || kernels.norm_weight_gradient(&norm, &x, &x, &statistics, weight);
    print("gradient of weight", shortest(run)?);
    print("softmax", shortest(|| kernels.softmax([rows, width], &x, &mut out))?);
    print("log_sum_exp", shortest(|| kernels.log_sum_exp([rows, width], &x, &mut sums))?);
    for function in [Function::Add, Function::Silu, Function::Gelu, Function::GeluTanh] {
        let arity = if function == Function::Add { Some(&x[..]) } else { None };
        let run = || kernels.element(&element(function), [Some(&x), arity, None], &mut out);
        print(&format!("{function:?}"), shortest(run)?);
    }
    let settings = AdamWSettings {
        beta1: 900_000,
        beta2: 950_000,
        epsilon: 10,
        weight_decay: 0,
        rate: 1_000,
        step: 9,
    };
    let factors = AdamWFactors::new::<f32>(&settings);
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    let run = || {
        let (parameters, first, second) = (&mut out[..], &mut first[..], &mut second[..]);
        let state = AdamWState { parameters, first, second };
        kernels.adamw(&factors, true, state, &x, 0.5)
    };
    print("adamw", shortest(run)?);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |count| count.parse())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let all = |kernels| {
        rows(kernels)?;
        println!("set, direction, rows, inner extent, columns, GFLOP/s");
        products(kernels)?;
        println!("set, length, heads, size, GFLOP/s forward, and backward");
        attention(kernels)
    };
    Ok(pool.install(|| Kernels::all().into_iter().try_for_each(all))?)
}
