// SPDX-License-Identifier: Apache-2.0

//! Prints the speed of products on every instruction set of this machine.
//!
//! ```sh
//! cargo run --release -p pol-kernels --example speed -- 1   # threads
//! ```

use pol_kernels::{Error, Kernels, Scratch};
use pol_numerics::Product;
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(1), |count| count.parse())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    println!("set, direction, rows, inner extent, columns, GFLOP/s");
    Ok(pool.install(|| Kernels::all().into_iter().try_for_each(products))?)
}
