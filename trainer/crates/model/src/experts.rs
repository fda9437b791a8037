// SPDX-License-Identifier: Apache-2.0

//! Mixture-of-experts feed-forward layer.
//!
//! A router scores every expert for a token, `s = x · W`. The token is processed by the `active`
//! experts with the largest `s / (1 + |s|) + b`; ties go to the lower index. The output is the sum
//! of their outputs, weighted by a softmax over their scores (Shazeer et al. 2017, "Outrageously
//! Large Neural Networks").
//!
//! The bias `b` affects the choice only. It balances the load of the experts (Wang et al. 2024,
//! "Auxiliary-Loss-Free Load Balancing Strategy for Mixture-of-Experts"). The squashed score lies
//! between −1 and 1, so a bias that is lower by 2 keeps a new expert out of every choice.
//!
//! With one active expert the softmax is 1 and the router learns from its auxiliary losses alone.
//! With two or more it also learns from the model's loss.
//!
//! Experts without tokens are not computed. Every sum has a fixed order: tokens are permuted by
//! expert and back, and a permutation adds nothing, neither forward nor backward.

use crate::{Error, feed_forward::FeedForward, linear::Linear};
use pol_primitives::model::{Experts, ModelSpec};
use tch::{Kind, Tensor};

/// Router decisions of a block and the auxiliary losses of the router.
#[derive(Debug)]
pub struct Routing {
    /// Experts of each token, best first, int64 `[tokens, active]`.
    pub chosen: Tensor,
    /// Number of tokens that each expert processed.
    pub load: Vec<i64>,
    /// Load balancing loss, a scalar: `count · Σ f_i · P_i` with the share `f_i` of choices and the
    /// mean probability `P_i` of each expert. It is 1 for uniform routing (Fedus et al. 2021,
    /// "Switch Transformers", equation 4). The router learns from it.
    pub balance: Tensor,
    /// Router z-loss, a scalar: mean square of the logsumexp of the scores (Zoph et al. 2022,
    /// "ST-MoE", equation 5). It keeps the scores small.
    pub z: Tensor,
    /// Bias loss, a scalar: `Σ b_i · (f_i − 1/count)`. Its gradient is the excess share of each
    /// expert. The biases learn from it.
    pub bias_loss: Tensor,
}

impl Routing {
    fn new(bias: &Tensor, scores: &Tensor, chosen: Tensor, load: Vec<i64>) -> Result<Self, Error> {
        let count = load.len() as f64;
        let choices = load.iter().sum::<i64>().max(1) as f64;
        let shares: Vec<f32> =
            load.iter().map(|&tokens| (tokens as f64 / choices) as f32).collect();
        let shares = Tensor::f_from_slice(&shares)?.f_to(scores.device())?;
        let probabilities =
            scores.f_softmax(-1, Kind::Float)?.f_mean_dim([0].as_slice(), false, Kind::Float)?;
        let balance = probabilities.f_mul(&shares)?.f_sum(Kind::Float)?.f_mul_scalar(count)?;
        // ln Σ exp(s) = s − ln softmax(s), the one kernel of the exact profile for it.
        let partition = scores.f_sub(&scores.f_log_softmax(-1, Kind::Float)?)?.f_select(1, 0)?;
        let z = partition.f_square()?.f_mean(Kind::Float)?;
        let bias_loss = bias.f_mul(&shares.f_sub_scalar(1.0 / count)?)?.f_sum(Kind::Float)?;
        Ok(Self { chosen, load, balance, z, bias_loss })
    }

    /// Computes the weighted sum of the auxiliary losses, which is added to the training objective.
    ///
    /// # Errors
    ///
    /// Fails if libtorch fails.
    pub fn objective(&self, experts: &Experts) -> Result<Tensor, Error> {
        let weight = |millionths: u32| f64::from(millionths) / 1e6;
        let spread = self.balance.f_add(&self.bias_loss)?.f_mul_scalar(weight(experts.balance))?;
        Ok(spread.f_add(&self.z.f_mul_scalar(weight(experts.z))?)?)
    }
}

/// Applies `layer` with `experts` to the normalised `x` `[tokens, width]`; returns the same shape.
/// Appends the router's decisions to `routing`.
pub(crate) fn feed_forward(
    spec: &ModelSpec,
    experts: Experts,
    layer: &FeedForward<'_>,
    x: &Tensor,
    routing: Option<&mut Vec<Routing>>,
) -> Result<Tensor, Error> {
    // The layer was read by the same specification, so it has a router.
    let (router, bias) = layer.router.ok_or(Error::Length { expected: 2, found: 0 })?;
    let (tokens, width) = x.size2()?;
    let active = i64::from(experts.active);
    let scores = x.f_mm(router)?;
    let chosen = choose(&scores, bias, active)?;
    let gates = scores.f_gather(1, &chosen, false)?.f_softmax(-1, Kind::Float)?;

    // One row per choice, sorted by expert. The rows of an expert stay in token order.
    let (by_expert, order) = chosen.f_reshape([-1])?.f_sort_stable(true, 0, false)?;
    let load = by_expert.f_bincount::<Tensor>(None, experts.count.into())?;
    let load = Vec::<i64>::try_from(load)?;
    let repeated = x
        .f_unsqueeze(1)?
        .f_expand([tokens, active, width], false)?
        .f_reshape([tokens * active, width])?;
    let rows = repeated.f_index_select(0, &order)?.f_split_with_sizes(load.as_slice(), 0)?;

    let gate = layer.gate.as_ref().map(ExpertLinears::new).transpose()?;
    let (up, down) = (ExpertLinears::new(&layer.up)?, ExpertLinears::new(&layer.down)?);
    let mut outputs = Vec::with_capacity(rows.len());
    for (index, rows) in rows.iter().enumerate().filter(|(index, _)| load[*index] > 0) {
        let gate = gate.as_ref().map(|gate| gate.of(index));
        let expert = FeedForward { router: None, gate, up: up.of(index), down: down.of(index) };
        outputs.push(expert.apply_dense(spec, rows)?);
    }
    let back = order.f_argsort(0, false)?;
    let outputs =
        Tensor::f_cat(&outputs, 0)?.f_index_select(0, &back)?.f_view([tokens, active, width])?;
    let sum = outputs.f_mul(&gates.f_unsqueeze(-1)?)?.f_sum_dim_intlist(
        [1].as_slice(),
        false,
        Kind::Float,
    )?;
    if let Some(routing) = routing {
        routing.push(Routing::new(bias, &scores, chosen, load)?);
    }
    Ok(sum)
}

/// Chooses the experts of each token by its `scores` `[tokens, count]`. Returns int64
/// `[tokens, active]`, best first.
fn choose(scores: &Tensor, bias: &Tensor, active: i64) -> Result<Tensor, Error> {
    let scores = scores.f_detach()?;
    let ranks = scores.f_div(&scores.f_abs()?.f_add_scalar(1.0)?)?.f_add(&bias.f_detach()?)?;
    // A stable sort gives ties to the lower index.
    let (_, order) = ranks.f_sort_stable(true, -1, true)?;
    Ok(order.f_narrow(1, 0, active)?)
}

/// Linear layers of all experts. They are unbound together so that their gradients are stacked
/// together.
struct ExpertLinears {
    weights: Vec<Tensor>,
    biases: Option<Vec<Tensor>>,
}

impl ExpertLinears {
    fn new(all: &Linear<'_>) -> Result<Self, Error> {
        Ok(Self {
            weights: all.weight.f_unbind(0)?,
            biases: all.bias.map(|bias| bias.f_unbind(0)).transpose()?,
        })
    }

    fn of(&self, expert: usize) -> Linear<'_> {
        Linear {
            weight: &self.weights[expert],
            bias: self.biases.as_ref().map(|biases| &biases[expert]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Decoder, KvCache, Layout, Weights,
        families::{families, large_parameters},
    };
    use pol_primitives::model::Activation;
    use tch::Device;

    const TOKENS: i64 = 9;
    const WIDTH: i64 = 6;
    const HIDDEN: i64 = 10;

    fn spec(gated: bool, count: u8, active: u8) -> ModelSpec {
        ModelSpec {
            gated,
            activation: Activation::Silu,
            experts: Some(Experts::new(count, active)),
            ..ModelSpec::gpt2(11, WIDTH as u32, 1, 2, HIDDEN as u32, 8)
        }
    }

    /// Draws values uniformly from −1 to 1.
    fn values(shape: &[i64], seed: u8) -> Tensor {
        let mut prf = pol_primitives::prf::Prf::new("test", &[seed; 32], &[]);
        let count: i64 = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|_| prf.below(2_001) as f32 / 1_000.0 - 1.0).collect();
        Tensor::from_slice(&values).view(shape)
    }

    fn tokens() -> Tensor {
        Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6, 7, 12, 0, 12, 3, 3, 9, 1]).view([2, 7])
    }

    fn weights(spec: &ModelSpec, flat: &[f32]) -> Weights {
        Weights::new(&Layout::new(spec).unwrap(), flat).unwrap()
    }

    struct Tensors {
        router: Tensor,
        bias: Tensor,
        gate: (Tensor, Tensor),
        up: (Tensor, Tensor),
        down: (Tensor, Tensor),
        gated: bool,
    }

    impl Tensors {
        fn new(spec: &ModelSpec) -> Self {
            let count = i64::from(spec.experts.unwrap().count);
            Self {
                router: values(&[WIDTH, count], 1),
                bias: Tensor::zeros([count], (Kind::Float, Device::Cpu)),
                gate: (values(&[count, WIDTH, HIDDEN], 2), values(&[count, HIDDEN], 3)),
                up: (values(&[count, WIDTH, HIDDEN], 4), values(&[count, HIDDEN], 5)),
                down: (values(&[count, HIDDEN, WIDTH], 6), values(&[count, WIDTH], 7)),
                gated: spec.gated,
            }
        }

        fn layer(&self) -> FeedForward<'_> {
            FeedForward {
                router: Some((&self.router, &self.bias)),
                gate: self
                    .gated
                    .then_some(Linear { weight: &self.gate.0, bias: Some(&self.gate.1) }),
                up: Linear { weight: &self.up.0, bias: Some(&self.up.1) },
                down: Linear { weight: &self.down.0, bias: Some(&self.down.1) },
            }
        }

        fn run(&self, spec: &ModelSpec, x: &Tensor) -> (Tensor, Routing) {
            let mut seen = Vec::new();
            let experts = spec.experts.unwrap();
            let made = feed_forward(spec, experts, &self.layer(), x, Some(&mut seen)).unwrap();
            (made, seen.pop().unwrap())
        }

        /// Applies expert `index` alone to `x`.
        fn alone(&self, spec: &ModelSpec, index: i64, x: &Tensor) -> Tensor {
            let [gate, up, down] =
                [&self.gate, &self.up, &self.down].map(|(w, b)| (w.get(index), b.get(index)));
            let expert = FeedForward {
                router: None,
                gate: self.gated.then_some(Linear { weight: &gate.0, bias: Some(&gate.1) }),
                up: Linear { weight: &up.0, bias: Some(&up.1) },
                down: Linear { weight: &down.0, bias: Some(&down.1) },
            };
            expert.apply_dense(spec, x).unwrap()
        }
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn each_token_gets_what_its_experts_make_of_it() {
        for (gated, count, active) in [(false, 2, 1), (true, 5, 2), (false, 5, 5), (true, 4, 3)] {
            let spec = spec(gated, count, active);
            let (tensors, x) = (Tensors::new(&spec), values(&[TOKENS, WIDTH], 9));
            let (made, routing) = tensors.run(&spec, &x);
            let scores = x.mm(&tensors.router);
            let mut load = vec![0; count.into()];
            for token in 0..TOKENS {
                let mut ranked: Vec<(f64, i64)> = (0..i64::from(count))
                    .map(|expert| (scores.double_value(&[token, expert]), expert))
                    .collect();
                ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
                ranked.truncate(active.into());
                let sum: f64 = ranked.iter().map(|(score, _)| score.exp()).sum();
                let row = x.narrow(0, token, 1);
                let expected = ranked.iter().fold(
                    Tensor::zeros([1, WIDTH], (Kind::Float, x.device())),
                    |all, &(score, expert)| {
                        load[expert as usize] += 1;
                        all + tensors.alone(&spec, expert, &row) * (score.exp() / sum)
                    },
                );
                assert!(far(&made.narrow(0, token, 1), &expected) < 1e-5);
                let chosen = Vec::<i64>::try_from(routing.chosen.get(token)).unwrap();
                assert_eq!(chosen, ranked.iter().map(|&(_, expert)| expert).collect::<Vec<_>>());
            }
            assert_eq!(routing.load, load);
        }
    }

    #[test]
    fn an_expert_without_tokens_is_not_computed() {
        let spec = spec(true, 3, 2);
        let mut tensors = Tensors::new(&spec);
        tensors.bias = Tensor::from_slice(&[0.0f32, -2.0, 0.0]);
        for (weight, bias) in [&mut tensors.gate, &mut tensors.up, &mut tensors.down] {
            // NaN would spread to the output if the expert were computed.
            let _ = (weight.get(1).fill_(f64::NAN), bias.get(1).fill_(f64::NAN));
        }
        let up = tensors.up.0.set_requires_grad(true);
        tensors.up.0 = up;
        let (made, routing) = tensors.run(&spec, &values(&[TOKENS, WIDTH], 9));
        assert_eq!(routing.load, [TOKENS, 0, TOKENS]);
        assert!(made.isfinite().all().int64_value(&[]) == 1);
        let gradient =
            Tensor::run_backward(&[made.square().sum(Kind::Float)], &[&tensors.up.0], false, false)
                .pop()
                .unwrap();
        let largest = |expert| gradient.get(expert).abs().max().double_value(&[]);
        assert_eq!(largest(1), 0.0);
        assert!(largest(0) > 0.0 && largest(2) > 0.0);
    }

    #[test]
    fn equal_scores_choose_the_first_experts() {
        let spec = spec(false, 5, 2);
        let mut tensors = Tensors::new(&spec);
        tensors.router = tensors.router.zeros_like();
        let (_, routing) = tensors.run(&spec, &values(&[TOKENS, WIDTH], 9));
        assert_eq!(routing.load, [TOKENS, TOKENS, 0, 0, 0]);
        assert_eq!(Vec::<i64>::try_from(routing.chosen.get(3)).unwrap(), [0, 1]);
    }

    #[test]
    fn equal_experts_are_one() {
        let spec = spec(true, 5, 3);
        let mut tensors = Tensors::new(&spec);
        for (weight, bias) in [&mut tensors.gate, &mut tensors.up, &mut tensors.down] {
            *weight = weight.narrow(0, 0, 1).expand_as(&*weight).contiguous();
            *bias = bias.narrow(0, 0, 1).expand_as(&*bias).contiguous();
        }
        let x = values(&[TOKENS, WIDTH], 9);
        assert!(far(&tensors.run(&spec, &x).0, &tensors.alone(&spec, 0, &x)) < 1e-5);
    }

    #[test]
    fn a_bias_steers_the_choice_and_nothing_else() {
        let spec = spec(false, 4, 2);
        let mut tensors = Tensors::new(&spec);
        let x = values(&[TOKENS, WIDTH], 9);
        let (before, _) = tensors.run(&spec, &x);
        tensors.bias = Tensor::from_slice(&[0.5f32; 4]);
        assert_eq!(far(&before, &tensors.run(&spec, &x).0), 0.0);
        tensors.bias = Tensor::from_slice(&[-9.0f32, -9.0, 9.0, 9.0]);
        assert_eq!(tensors.run(&spec, &x).1.load, [0, 0, TOKENS, TOKENS]);
    }

    #[test]
    fn losses_are_what_the_papers_define() {
        let spec = spec(false, 4, 1);
        let mut tensors = Tensors::new(&spec);
        // Token t has a score of ln(1 + t mod 4) for expert t mod 4 and of 0 for the others.
        tensors.router = Tensor::eye_m(WIDTH, 4, (Kind::Float, Device::Cpu));
        let rows: Vec<f32> = (0..4)
            .flat_map(|token| {
                (0..WIDTH).map(move |i| if i == token { (2.0f32 + i as f32).ln() } else { 0.0 })
            })
            .collect();
        let x = Tensor::from_slice(&rows).view([4, WIDTH]);
        let (_, routing) = tensors.run(&spec, &x);
        assert_eq!(routing.load, [1; 4]);
        // With equal shares, balance is the sum of all probabilities.
        assert!((routing.balance.double_value(&[]) - 1.0).abs() < 1e-6);
        let z = (0..4).map(|token| (5.0f64 + f64::from(token)).ln().powi(2)).sum::<f64>() / 4.0;
        assert!((routing.z.double_value(&[]) - z).abs() < 1e-5);
        assert_eq!(routing.bias_loss.double_value(&[]), 0.0);

        // All tokens go to one expert: the balance is count times its mean probability, and the
        // gradient of its bias is positive.
        tensors.bias = Tensor::from_slice(&[0.0f32, 0.0, 0.0, 5.0]).set_requires_grad(true);
        let (_, routing) = tensors.run(&spec, &x);
        let probability = (1.0 / 5.0 + 1.0 / 6.0 + 1.0 / 7.0 + 5.0 / 8.0) / 4.0;
        assert!((routing.balance.double_value(&[]) - 4.0 * probability).abs() < 1e-6);
        let objective = routing
            .objective(&Experts { balance: 500_000, z: 250_000, ..Experts::new(4, 1) })
            .unwrap();
        let slope =
            Tensor::run_backward(&[&objective], &[&tensors.bias], false, false).pop().unwrap();
        assert_eq!(Vec::<f32>::try_from(slope).unwrap(), [-0.125, -0.125, -0.125, 0.375]);
        let parts = 0.5 * (4.0 * probability + 5.0 * 0.75) + 0.25 * z;
        assert!((objective.double_value(&[]) - parts).abs() < 1e-5);
    }

    #[test]
    fn the_router_learns_to_spread_tokens() {
        // With the balance loss alone, a router that prefers one expert learns to use all.
        let spec = spec(false, 4, 1);
        let mut tensors = Tensors::new(&spec);
        let x = values(&[256, WIDTH], 9).abs();
        tensors.router =
            Tensor::cat(&[tensors.router.narrow(1, 0, 3), tensors.router.narrow(1, 3, 1) + 1.0], 1);
        let uneven = |routing: &Routing| *routing.load.iter().max().unwrap();
        let before = uneven(&tensors.run(&spec, &x).1);
        for _ in 0..60 {
            tensors.router = tensors.router.detach().set_requires_grad(true);
            let (_, routing) = tensors.run(&spec, &x);
            let slope = Tensor::run_backward(&[&routing.balance], &[&tensors.router], false, false)
                .pop()
                .unwrap();
            tensors.router = &tensors.router - slope;
        }
        let after = uneven(&tensors.run(&spec, &x).1);
        assert!(before > 200 && after < 128, "{before} {after}");
    }

    #[test]
    fn the_same_bits_come_twice() {
        let spec = spec(true, 5, 3);
        let tensors = Tensors::new(&spec);
        let x = values(&[TOKENS, WIDTH], 9).set_requires_grad(true);
        let run = || {
            let made = tensors.run(&spec, &x).0;
            let slope =
                Tensor::run_backward(&[made.square().sum(Kind::Float)], &[&x], false, false)
                    .pop()
                    .unwrap();
            [made, slope].map(|tensor| Vec::<f32>::try_from(tensor.reshape([-1])).unwrap())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn a_cache_changes_nothing() {
        for (name, dense) in families() {
            let spec = ModelSpec { experts: Some(Experts::new(5, 2)), ..dense };
            let (decoder, weights) =
                (Decoder::new(&spec).unwrap(), weights(&spec, &large_parameters(&spec)));
            let tokens = tokens().narrow(1, 0, 6);
            let at_once = decoder.hidden_states(&weights, &tokens, None).unwrap();
            let mut cache = KvCache::new(&spec, 2, 6, Device::Cpu).unwrap();
            for place in 0..6 {
                let one = decoder
                    .hidden_states(&weights, &tokens.narrow(1, place, 1), Some(&mut cache))
                    .unwrap();
                assert!(far(&one, &at_once.narrow(1, place, 1)) < 1e-4, "{name} at {place}");
            }
        }
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_objective() {
        let (name, dense) = families()[4];
        let spec = ModelSpec {
            experts: Some(Experts { balance: 300_000, z: 100_000, ..Experts::new(5, 2) }),
            ..dense
        };
        let (layout, decoder, flat) =
            (Layout::new(&spec).unwrap(), Decoder::new(&spec).unwrap(), large_parameters(&spec));
        let objective =
            |weights: &Weights| decoder.forward_loss(weights, &tokens()).unwrap().objective;
        let trainable = weights(&spec, &flat).share(true).unwrap();
        let mut gradient = vec![0.0; layout.len()];
        trainable.gradient(&objective(&trainable), &mut gradient).unwrap();
        for slot in layout.tensors() {
            let part = &gradient[slot.range()];
            let squared: f64 = part.iter().map(|&g| f64::from(g).powi(2)).sum();
            assert!(squared > 1e-12, "{name}: {} has no gradient", slot.parameter.name);
            // The step is too small to change any choice.
            let step = 1e-3 / squared.sqrt();
            let moved = |sign: f64| {
                let mut flat = flat.clone();
                for (value, &g) in flat[slot.range()].iter_mut().zip(part) {
                    *value += (sign * step * f64::from(g)) as f32;
                }
                objective(&weights(&spec, &flat)).double_value(&[])
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
            let tolerance = 0.01 * squared + 1e-6 / step;
            assert!(
                (slope - squared).abs() < tolerance,
                "{}: {slope}, expected {squared}",
                slot.parameter.name
            );
        }
    }
}
