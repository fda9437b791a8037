// SPDX-License-Identifier: Apache-2.0

use super::RowCache;
use crate::Error;
use pol_primitives::model::Superposition;
use tch::{Device, Kind, Tensor};

/// Constant added to sums of squares before the root.
const EPSILON: f64 = 1e-6;

/// Parameters of a block's superposition of `R` branches of rank `r`.
#[derive(Clone, Copy, Debug)]
pub struct SuperpositionTensors<'a> {
    /// Amplitudes, `[width, 2R]`: real parts, then imaginary parts.
    pub amplitudes: &'a Tensor,
    /// Branch states, `[width, R · r]`.
    pub branches: &'a Tensor,
    /// Left factor of the coupling between tokens, `[width, r]`.
    pub query: &'a Tensor,
    /// Right factor, `[width, r]`.
    pub key: &'a Tensor,
    /// Projection to the residual stream, `[r, width]`.
    pub out: &'a Tensor,
    /// Scale of the output, `[width]`; zero initially.
    pub gate: &'a Tensor,
}

/// Computes the output of a superposition for the residual stream `x` `[batch · length, width]`,
/// which is to be added to `x`. It has the same shape and is zero while the gate is zero.
///
/// With `n` the root-mean-square norm of a token's `x` and `α ∈ ℂ^R` its [amplitudes], branch `k`
/// is in state `h_k = n · B_k`. The branches mix as intensities do, with interference:
/// `s = Σ_k |α_k|² h_k + Σ_{j<k} 2 Re(α_j ᾱ_k) · h_j ⊙ h_k`. Token `t` is entangled with the tokens
/// before it by `e_t = 1/t · Σ_{s<t} cos(Qᵀn_t, Kᵀn_s) · Re⟨α_s, α_t⟩ · p_s`, where
/// `p = Σ_k |α_k|² h_k`. Branches that agree in phase reinforce each other; branches in opposite
/// phase cancel. The result is `gate ⊙ ((s + e) · out)`.
///
/// With a `cache`, tokens continue the cached ones.
///
/// # Errors
///
/// Fails if the shapes do not match.
pub fn superposition(
    sizes: Superposition,
    tensors: &SuperpositionTensors<'_>,
    x: &Tensor,
    batch: i64,
    cache: Option<&mut RowCache>,
) -> Result<Tensor, Error> {
    let (branches, rank) = (i64::from(sizes.branches), i64::from(sizes.rank));
    let normed = unit_mean_square(x)?;
    let amplitudes = amplitudes(tensors.amplitudes, x)?;
    let (real, imaginary) =
        (amplitudes.f_narrow(1, 0, branches)?, amplitudes.f_narrow(1, branches, branches)?);
    let weights = real.f_mul(&real)?.f_add(&imaginary.f_mul(&imaginary)?)?;
    let states = normed.f_mm(tensors.branches)?.f_view([-1, branches, rank])?;

    // One product computes Re ψ, Im ψ and p, where ψ = Σ α_k h_k.
    let sums = Tensor::f_stack(&[real, imaginary, weights.shallow_clone()], 1)?
        .f_bmm(&states)?
        .f_unbind(1)?;
    let [psi_real, psi_imaginary, mixed] = sums.as_slice() else {
        return Err(Error::Length { expected: 3, found: sums.len() });
    };
    // |ψ|² contains the interference of every pair and the square of each branch. The squares are
    // subtracted.
    let intensity = psi_real.f_mul(psi_real)?.f_add(&psi_imaginary.f_mul(psi_imaginary)?)?;
    let alone = weights.f_unsqueeze(1)?.f_bmm(&states.f_mul(&states)?)?.f_squeeze_dim(1)?;
    let superposed = mixed.f_add(&intensity.f_sub(&alone)?)?;

    let sequences = |rows: &Tensor| rows.f_view([batch, -1, rows.size2()?.1]);
    let queries = sequences(&unit(&normed.f_mm(tensors.query)?)?)?;
    let own = sequences(&amplitudes)?;
    let seen = Tensor::f_cat(&[&amplitudes, &unit(&normed.f_mm(tensors.key)?)?, mixed], 1)?;
    let seen = sequences(&seen)?;
    let seen = match cache {
        Some(cache) => cache.extend(&seen)?,
        None => seen,
    };
    let phases = own.f_bmm(&seen.f_narrow(2, 0, 2 * branches)?.f_transpose(1, 2)?)?;
    let fit = queries.f_bmm(&seen.f_narrow(2, 2 * branches, rank)?.f_transpose(1, 2)?)?;
    let shares = mean_over_past(own.size3()?.1, seen.size3()?.1, (x.kind(), x.device()))?;
    let coupling = fit.f_mul(&phases)?.f_mul(&shares)?;
    let entangled =
        coupling.f_bmm(&seen.f_narrow(2, 2 * branches + rank, rank)?)?.f_view([-1, rank])?;

    Ok(superposed.f_add(&entangled)?.f_mm(tensors.out)?.f_mul(tensors.gate)?)
}

/// Computes the amplitudes of each token of the residual stream `x` `[tokens, width]` with the
/// block's `projection` `[width, 2R]`. Returns real parts, then imaginary parts, `[tokens, 2R]`.
///
/// The squares of a token's amplitudes sum to 1, up to rounding and a small constant that keeps
/// zero finite.
///
/// # Errors
///
/// Fails if the shapes do not match.
pub fn amplitudes(projection: &Tensor, x: &Tensor) -> Result<Tensor, Error> {
    unit(&unit_mean_square(x)?.f_mm(projection)?)
}

/// Computes the coherence, 0 to 1, of `amplitudes`, which has all real parts of `branches` branches
/// and then all imaginary parts for each token: `Σ_{j≠k} |ρ_jk| / (R − 1)`, where `R` is the number
/// of branches and `ρ` the mean of `α α†` over the tokens.
///
/// It is the l1 norm of coherence (Baumgratz, Cramer and Plenio 2014, "Quantifying Coherence")
/// divided by its maximum. It is 0 if every token is in one branch or phases are random, and 1 if
/// all tokens are in the same even superposition.
///
/// Sums are float64 sums in the order of tokens and of pairs of branches, so a model and a text
/// have one value.
pub fn coherence(amplitudes: &[f32], branches: usize) -> f64 {
    if amplitudes.is_empty() || branches < 2 {
        return 0.0;
    }
    let pairs: Vec<_> = (0..branches).flat_map(|j| (0..j).map(move |k| (j, k))).collect();
    let mut sums = vec![[0f64; 2]; pairs.len()];
    let mut tokens = 0f64;
    for token in amplitudes.chunks_exact(2 * branches) {
        tokens += 1.0;
        let part = |j: usize| (f64::from(token[j]), f64::from(token[branches + j]));
        for ([real, imaginary], &(j, k)) in sums.iter_mut().zip(&pairs) {
            let ((a, b), (c, d)) = (part(j), part(k));
            *real += a * c + b * d;
            *imaginary += b * c - a * d;
        }
    }
    let magnitude = |[real, imaginary]: &[f64; 2]| (real * real + imaginary * imaginary).sqrt();
    let sum: f64 = sums.iter().map(|sum| 2.0 * magnitude(sum)).sum();
    // Clamped because the squares sum to 1 only up to float32 rounding.
    (sum / (tokens * (branches - 1) as f64)).clamp(0.0, 1.0)
}

/// Scales rows to a mean square of 1.
fn unit_mean_square(x: &Tensor) -> Result<Tensor, Error> {
    let mean = x.f_mul(x)?.f_mean_dim([-1].as_slice(), true, x.kind())?;
    Ok(x.f_mul(&mean.f_add_scalar(EPSILON)?.f_rsqrt()?)?)
}

/// Scales rows to a sum of squares of 1.
fn unit(x: &Tensor) -> Result<Tensor, Error> {
    let sum = x.f_mul(x)?.f_sum_dim_intlist([-1].as_slice(), true, x.kind())?;
    Ok(x.f_mul(&sum.f_add_scalar(EPSILON)?.f_rsqrt()?)?)
}

/// Returns the weights `[length, total]` by which each of the last `length` of `total` tokens
/// averages over the `t` tokens before it: 1/t for those, else 0.
fn mean_over_past(length: i64, total: i64, options: (Kind, Device)) -> Result<Tensor, Error> {
    let past = total - length;
    let shares: Vec<f32> = (past..total).map(|t| 1.0 / t.max(1) as f32).collect();
    let shares =
        Tensor::f_from_slice(&shares)?.f_to(options.1)?.f_to_kind(options.0)?.f_unsqueeze(1)?;
    Ok(Tensor::f_ones([length, total], options)?.f_tril(past - 1)?.f_mul(&shares)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;

    const SIZES: Superposition = Superposition { branches: 3, rank: 2 };
    const WIDTH: i64 = 5;

    /// Draws values uniformly from −1 to 1.
    fn draw(name: &str, shape: &[i64]) -> Tensor {
        let mut prf = Prf::new("test", &[5; 32], &[name.as_bytes()]);
        let values: Vec<f32> = (0..shape.iter().product::<i64>())
            .map(|_| prf.below(2_001) as f32 / 1_000.0 - 1.0)
            .collect();
        Tensor::from_slice(&values).view(shape)
    }

    /// Returns amplitudes, branches, query, key, out and gate.
    fn parameters(gate: f64) -> [Tensor; 6] {
        let (branches, rank) = (i64::from(SIZES.branches), i64::from(SIZES.rank));
        let shapes = [
            [WIDTH, 2 * branches],
            [WIDTH, branches * rank],
            [WIDTH, rank],
            [WIDTH, rank],
            [rank, WIDTH],
        ];
        let [a, b, q, k, o] =
            [0, 1, 2, 3, 4].map(|i| draw(&i.to_string(), &shapes[i]).set_requires_grad(true));
        [
            a,
            b,
            q,
            k,
            o,
            Tensor::full([WIDTH], gate, (Kind::Float, Device::Cpu)).set_requires_grad(true),
        ]
    }

    fn run(
        parameters: &[Tensor; 6],
        x: &Tensor,
        batch: i64,
        cache: Option<&mut RowCache>,
    ) -> Tensor {
        let [amplitudes, branches, query, key, out, gate] = parameters;
        let tensors = SuperpositionTensors { amplitudes, branches, query, key, out, gate };
        superposition(SIZES, &tensors, x, batch, cache).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    /// Computes the definition value by value in float64.
    fn reference(parameters: &[Tensor; 6], x: &Tensor) -> Vec<f64> {
        let rows = |tensor: &Tensor| {
            Vec::<Vec<f64>>::try_from(tensor.detach().to_kind(Kind::Double)).unwrap()
        };
        let [amplitudes, branches, query, key, out] = [0, 1, 2, 3, 4].map(|i| rows(&parameters[i]));
        let gate = Vec::<f64>::try_from(parameters[5].detach().to_kind(Kind::Double)).unwrap();
        let (count, rank) = (usize::from(SIZES.branches), usize::from(SIZES.rank));
        let project = |n: &[f64], m: &[Vec<f64>]| -> Vec<f64> {
            (0..m[0].len()).map(|j| n.iter().zip(m).map(|(n, row)| n * row[j]).sum()).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let scaled = |v: Vec<f64>, square: f64| {
            v.iter().map(|v| v / (square + EPSILON).sqrt()).collect::<Vec<_>>()
        };
        let mut before: Vec<(Vec<f64>, Vec<f64>, Vec<f64>)> = Vec::new();
        let mut result = Vec::new();
        for row in rows(x) {
            let n = scaled(row.clone(), dot(&row, &row) / row.len() as f64);
            let z = project(&n, &amplitudes);
            let a = scaled(z.clone(), dot(&z, &z));
            let h = project(&n, &branches);
            let weight = |k: usize| a[k] * a[k] + a[count + k] * a[count + k];
            let p: Vec<f64> =
                (0..rank).map(|i| (0..count).map(|k| weight(k) * h[k * rank + i]).sum()).collect();
            let mut s = p.clone();
            for j in 0..count {
                for k in j + 1..count {
                    let overlap = a[j] * a[k] + a[count + j] * a[count + k];
                    (0..rank)
                        .for_each(|i| s[i] += 2.0 * overlap * h[j * rank + i] * h[k * rank + i]);
                }
            }
            let [q, k] =
                [&query, &key].map(|m| project(&n, m)).map(|v| scaled(v.clone(), dot(&v, &v)));
            for (a_s, k_s, p_s) in &before {
                let coupling = dot(&q, k_s) * dot(&a, a_s) / before.len() as f64;
                (0..rank).for_each(|i| s[i] += coupling * p_s[i]);
            }
            before.push((a, k, p));
            result.extend(project(&s, &out).iter().zip(&gate).map(|(y, g)| y * g));
        }
        result
    }

    #[test]
    fn the_layer_is_its_definition() {
        let (parameters, x) = (parameters(0.7), draw("x", &[6, WIDTH]));
        let found = Vec::<f64>::try_from(
            run(&parameters, &x, 1, None).detach().to_kind(Kind::Double).view([-1]),
        )
        .unwrap();
        for (found, expected) in found.into_iter().zip(reference(&parameters, &x)) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    #[test]
    fn a_closed_gate_adds_nothing_and_learns() {
        let (parameters, x) = (parameters(0.0), draw("x", &[8, WIDTH]));
        let added = run(&parameters, &x, 2, None);
        assert_eq!(added.abs().max().double_value(&[]), 0.0);
        (added * draw("direction", &[8, WIDTH])).sum(Kind::Float).backward();
        let norms =
            parameters.each_ref().map(|parameter| parameter.grad().abs().max().double_value(&[]));
        assert!(norms[5] > 1e-3, "the gate has no gradient");
        assert_eq!(norms[..5], [0.0; 5]);
    }

    #[test]
    fn an_open_gate_lets_everything_learn() {
        let (parameters, x) = (parameters(0.5), draw("x", &[8, WIDTH]).set_requires_grad(true));
        (run(&parameters, &x, 2, None) * draw("direction", &[8, WIDTH]))
            .sum(Kind::Float)
            .backward();
        for tensor in parameters.iter().chain([&x]) {
            assert!(tensor.grad().abs().max().double_value(&[]) > 1e-4);
        }
    }

    #[test]
    fn nothing_leaks_from_later_tokens_or_other_sequences() {
        let (parameters, x) = (parameters(1.0), draw("x", &[10, WIDTH]).set_requires_grad(true));
        // Rows 5 to 9 are a second sequence.
        let row = run(&parameters, &x, 2, None).get(7);
        row.sum(Kind::Float).backward();
        let reached: Vec<bool> =
            (0..10).map(|i| x.grad().get(i).abs().max().double_value(&[]) > 1e-7).collect();
        assert_eq!(reached, [false, false, false, false, false, true, true, true, false, false]);
        // The first token has no past, so its output does not depend on the tokens after it.
        let (alone, many) =
            (run(&parameters, &x.narrow(0, 0, 1), 1, None), run(&parameters, &x, 2, None));
        assert!(distance(&alone, &many.narrow(0, 0, 1)) < 1e-6);
    }

    #[test]
    fn decoding_equals_one_forward_pass() {
        let (parameters, x) = (parameters(1.0), draw("x", &[2, 5, WIDTH]));
        let whole = run(&parameters, &x.view([-1, WIDTH]), 2, None).view([2, 5, WIDTH]);
        let mut cache = RowCache::default();
        let follow = |from: i64, length: i64, cache: &mut RowCache| {
            let part =
                run(&parameters, &x.narrow(1, from, length).reshape([-1, WIDTH]), 2, Some(cache))
                    .view([2, length, WIDTH]);
            assert!(distance(&part, &whole.narrow(1, from, length)) < 1e-6);
        };
        for (from, length) in [(0, 2), (2, 1), (3, 2)] {
            follow(from, length, &mut cache);
        }
        cache.truncate(1).unwrap();
        follow(1, 3, &mut cache);
        assert_eq!(cache.len(), 4);
        cache.truncate(0).unwrap();
        assert!(cache.is_empty());
    }

    #[test]
    fn a_zero_token_is_harmless() {
        let (parameters, x) = (
            parameters(1.0),
            Tensor::zeros([4, WIDTH], (Kind::Float, Device::Cpu)).set_requires_grad(true),
        );
        let added = run(&parameters, &x, 1, None);
        added.sum(Kind::Float).backward();
        assert_eq!(added.abs().max().double_value(&[]), 0.0);
        assert!(x.grad().isfinite().all().int64_value(&[]) == 1);
    }

    fn coherence_of(rows: &[&[f32]]) -> f64 {
        coherence(&rows.concat(), rows[0].len() / 2)
    }

    #[test]
    fn coherence_by_hand() {
        let half = 0.5f32.sqrt();
        // All tokens in branch 0; all in one even superposition of any phase; branches in turn.
        assert_eq!(coherence_of(&[&[1.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 1.0, 0.0]]), 0.0);
        assert!(
            (coherence_of(&[&[half, half, 0.0, 0.0], &[0.0, 0.0, half, half]]) - 1.0).abs() < 1e-6
        );
        assert!(
            (coherence_of(&[&[half, 0.0, 0.0, half], &[half, 0.0, 0.0, half]]) - 1.0).abs() < 1e-6
        );
        assert_eq!(coherence_of(&[&[1.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0]]), 0.0);
        // Opposite phases cancel.
        assert!(coherence_of(&[&[half, half, 0.0, 0.0], &[half, -half, 0.0, 0.0]]) < 1e-6);
        // Three branches, real: α = (0.6, 0.8, 0): 2 · 0.48 / 2.
        assert!((coherence_of(&[&[0.6, 0.8, 0.0, 0.0, 0.0, 0.0]]) - 0.48).abs() < 1e-6);
        assert_eq!(coherence(&[], 2), 0.0);
        assert_eq!(coherence(&[1.0, 0.0], 1), 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn coherence_is_between_0_and_1(
            (branches, values) in (2usize..6).prop_flat_map(|n| {
                (Just(n), proptest::collection::vec(-9f32..9.0, 4 * n * 3))
            }),
        ) {
            let x = Tensor::from_slice(&values[..4 * 3]).view([4, 3]);
            let projection = Tensor::from_slice(&values[4 * 3..])
                .narrow(0, 0, 3 * 2 * branches as i64)
                .view([3, -1]);
            let amplitudes = amplitudes(&projection, &x).unwrap();
            let squares = (&amplitudes * &amplitudes).sum_dim_intlist(1, false, Kind::Double);
            let squares = Vec::<f64>::try_from(squares).unwrap();
            prop_assert!(squares.iter().all(|&sum| sum < 1.0 + 1e-5));
            let amplitudes = Vec::<f32>::try_from(amplitudes.reshape([-1])).unwrap();
            prop_assert!((0.0..=1.0).contains(&coherence(&amplitudes, branches)));
        }
    }
}
