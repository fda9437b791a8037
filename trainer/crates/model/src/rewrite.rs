//! What a [`Rewrite`] does to the vectors of a model, and when to propose one.

use crate::{Error, Layout, Slot, Utilisation, initial::draw};
use pol_primitives::{
    Hash,
    model::{Experts, ModelSpec},
    rewrite::{EXPERT_NAMES, InvalidRewrite, Rewrite},
};
use serde::Serialize;
use std::collections::HashMap;

/// By how much the bias of a new expert's choice is below all others: what it is added to lies
/// between −1 and 1.
const DORMANT: f32 = 2.0;

/// A rewrite of a model, ready to be applied to its vectors: the same bits on every machine.
#[derive(Clone, Debug)]
pub struct Rewriting {
    rewrite: Rewrite,
    spec: ModelSpec,
    key: Hash,
    before: Layout,
    after: Layout,
}

impl Rewriting {
    /// Of a model of `spec`.
    pub fn new(spec: &ModelSpec, rewrite: &Rewrite) -> Result<Self, InvalidRewrite> {
        let after = rewrite.apply(spec)?;
        Ok(Self {
            rewrite: *rewrite,
            spec: after,
            key: rewrite.key(spec),
            before: Layout::new(spec)?,
            after: Layout::new(&after)?,
        })
    }

    /// What the model becomes.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The parameters that `parameters` become: copies where the rewrite copies, else zero or drawn
    /// from the rewrite's streams.
    pub fn parameters(&self, parameters: &[f32]) -> Result<Vec<f32>, Error> {
        self.apply(parameters, true)
    }

    /// What a vector that goes with the parameters, such as a moment of Adam's or the error
    /// feedback, becomes: copies where parameters are copies, zero where they are new.
    pub fn carried(&self, vector: &[f32]) -> Result<Vec<f32>, Error> {
        self.apply(vector, false)
    }

    fn apply(&self, vector: &[f32], drawn: bool) -> Result<Vec<f32>, Error> {
        if vector.len() != self.before.len() {
            return Err(Error::Length { expected: self.before.len(), found: vector.len() });
        }
        let sources: HashMap<&str, &Slot> =
            self.before.tensors().iter().map(|slot| (slot.parameter.name.as_str(), slot)).collect();
        let mut all = Vec::with_capacity(self.after.len());
        for slot in self.after.tensors() {
            let source = self
                .source(&slot.parameter.name)
                .and_then(|name| sources.get(name.as_str()).copied());
            let source = source.map(|source| (source, &vector[source.range()]));
            let axes = source.map(|(source, _)| self.axes(slot, source));
            let is_copy =
                axes.as_ref().is_some_and(|axes| axes.iter().flatten().all(Option::is_some));
            let new = if drawn && !is_copy {
                self.new_values(slot, source.map(|(_, values)| values))
            } else {
                Vec::new()
            };
            let new = |index: usize| new.get(index).copied().unwrap_or(0.0);
            let Some(((source, values), [outer, rows, columns])) = source.zip(axes) else {
                all.extend((0..slot.parameter.len()).map(new));
                continue;
            };
            let [_, height, width] = sizes(&source.parameter.shape);
            let mut index = 0;
            for place in outer.iter().flat_map(|outer| rows.iter().map(move |row| outer.zip(*row)))
            {
                let row =
                    place.map(|(outer, row)| &values[(outer * height + row) * width..][..width]);
                for column in &columns {
                    all.push(
                        row.zip(*column).map_or_else(|| new(index), |(row, column)| row[column]),
                    );
                    index += 1;
                }
            }
        }
        Ok(all)
    }

    /// Name of the tensor that `name` was, None for one of a new block.
    fn source(&self, name: &str) -> Option<String> {
        match (self.rewrite, block(name)) {
            (Rewrite::InsertBlock { at }, Some((index, part))) if index >= at => {
                (index > at).then(|| format!("h.{}.{part}", index - 1))
            }
            _ => Some(name.into()),
        }
    }

    /// For each index along each dimension of the tensor `slot`, seen as one of three, the index
    /// that it had in `source`; None if it is new.
    fn axes(&self, slot: &Slot, source: &Slot) -> [Vec<Option<usize>>; 3] {
        let mut axes =
            sizes(&source.parameter.shape).map(|size| (0..size).map(Some).collect::<Vec<_>>());
        let part = block(&slot.parameter.name).map_or("", |(_, part)| part);
        let is_weight = part.ends_with(".weight");
        let (experts, hidden) = match part.rsplit_once('.').map(|(part, _)| part) {
            Some("mlp.router") => (Some(2), None),
            Some("mlp.c_proj") => (Some(usize::from(!is_weight)), is_weight.then_some(1)),
            Some("mlp.c_fc" | "mlp.c_gate") => (Some(usize::from(!is_weight)), Some(2)),
            _ => (None, None),
        };
        if let Some(axis) = experts {
            let axis = &mut axes[axis];
            match self.rewrite {
                Rewrite::Upcycle { experts } => *axis = vec![Some(0); experts.count.into()],
                Rewrite::AddExpert { like } => {
                    axis.push((!part.starts_with("mlp.router")).then_some(like.into()))
                }
                Rewrite::SplitExpert { expert } => {
                    axis.push((part != "mlp.router.bias").then_some(expert.into()))
                }
                Rewrite::PruneExpert { expert } => {
                    axis.remove(expert.into());
                }
                Rewrite::InsertBlock { .. } | Rewrite::Widen { .. } => {}
            }
        }
        if let (Rewrite::Widen { feed_forward }, Some(axis)) = (self.rewrite, hidden) {
            axes[axis].resize(feed_forward as usize, None);
        }
        axes
    }

    /// Values of the tensor `slot` where it is new, when the rest of it was `source`.
    fn new_values(&self, slot: &Slot, source: Option<&[f32]>) -> Vec<f32> {
        let part = block(&slot.parameter.name).map_or("", |(_, part)| part);
        match source {
            // What leads back to the residual stream adds nothing.
            _ if part.ends_with("c_proj.weight") => Vec::new(),
            Some(biases) if part == "mlp.router.bias" => {
                let least = biases.iter().copied().fold(f32::INFINITY, f32::min);
                vec![least - DORMANT; slot.parameter.len()]
            }
            _ => {
                let mut values = Vec::with_capacity(slot.parameter.len());
                draw(&slot.parameter, &self.key, &mut values);
                values
            }
        }
    }
}

/// A tensor's sizes, seen as one of three dimensions.
fn sizes(shape: &[u32]) -> [usize; 3] {
    let mut sizes = [1; 3];
    for (size, &given) in sizes.iter_mut().rev().zip(shape.iter().rev()) {
        *size = given as usize;
    }
    sizes
}

/// Block and part that the name of a tensor tells, if it is one of a block.
fn block(name: &str) -> Option<(u16, &str)> {
    let (index, part) = name.strip_prefix("h.")?.split_once('.')?;
    Some((index.parse().ok()?, part))
}

/// Names of the experts of a model that came about by `rewrites`, in that order: those of
/// [`EXPERT_NAMES`] first, then numbers; a copy has the name of its model and one more prime.
pub fn expert_names(rewrites: &[Rewrite]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for rewrite in rewrites {
        match *rewrite {
            Rewrite::Upcycle { experts } => {
                let name = |index: usize| {
                    EXPERT_NAMES.get(index).map_or_else(|| index.to_string(), |&name| name.into())
                };
                names = (0..experts.count.into()).map(name).collect();
            }
            Rewrite::AddExpert { like: expert } | Rewrite::SplitExpert { expert } => {
                let copy = names.get(usize::from(expert)).map(|name| format!("{name}'"));
                names.extend(copy);
            }
            Rewrite::PruneExpert { expert } if usize::from(expert) < names.len() => {
                names.remove(expert.into());
            }
            _ => {}
        }
    }
    names
}

/// A rewrite, and what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Proposal {
    /// The rewrite.
    pub rewrite: Rewrite,
    /// What was measured.
    pub reason: Reason,
}

/// What speaks for a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// In every block the expert gets less than an eighth of what it would if all were used alike.
    Unused {
        /// The largest share of choices that it gets in a block.
        share: f64,
    },
    /// The expert gets more than twice what it would if all were used alike.
    Overused {
        /// Its share of choices, on average over blocks.
        share: f64,
    },
    /// The loss falls by less than half a per cent from a quarter of the rounds to the next.
    Plateau {
        /// By which part the loss fell.
        fall: f64,
    },
}

/// Rounds of losses from which on a plateau can be told.
pub const LEAST_LOSSES: usize = 16;

/// Rewrites of a model of `spec` that its measured use of experts and its `losses` on held-out
/// text, one a round since it was last rewritten, oldest first, speak for. The first is the one to
/// take: they are not meant to be taken together.
///
/// 1. The least used expert is pruned if in no block it gets an eighth of an equal share.
/// 2. The most used expert is split if on average over blocks it gets more than two equal shares.
/// 3. If neither, and the mean of the last quarter of at least [`LEAST_LOSSES`] losses is not below
///    that of the quarter before by half a per cent, the model has to grow: by an expert like the
///    most used one, or five experts where there are none, which cost no time; else by a quarter
///    more hidden units, or by a block in its middle.
///
/// An expert that has just been added is unused, so `utilisation` has to be that of later rounds:
/// it takes as many steps as its bias needs to rise by 2.
pub fn propose(
    spec: &ModelSpec,
    utilisation: Option<&Utilisation>,
    losses: &[f64],
) -> Vec<Proposal> {
    let mut proposals = Vec::new();
    let mut most_used = None;
    if let Some(utilisation) = utilisation.filter(|utilisation| {
        spec.experts.is_some_and(|e| utilisation.experts() == usize::from(e.count))
    }) {
        let blocks: Vec<Vec<f64>> =
            (0..utilisation.blocks()).map(|block| utilisation.shares(None, block)).collect();
        let observed = blocks.iter().flatten().any(|&share| share > 0.0);
        let equal = 1.0 / utilisation.experts() as f64;
        let of = |expert: usize| blocks.iter().map(move |shares| shares[expert]);
        let means = (0..utilisation.experts())
            .map(|expert| (expert as u8, of(expert).sum::<f64>() / blocks.len() as f64));
        let largest =
            (0..utilisation.experts()).map(|expert| (expert as u8, of(expert).fold(0.0, f64::max)));
        let least = largest.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| observed);
        // Of equal ones the first.
        let most = means.rev().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| observed);
        most_used = most.map(|(expert, _)| expert);
        if let Some((expert, share)) = least.filter(|(_, share)| *share < equal / 8.0) {
            proposals.push(Proposal {
                rewrite: Rewrite::PruneExpert { expert },
                reason: Reason::Unused { share },
            });
        }
        if let Some((expert, share)) = most.filter(|(_, share)| *share > 2.0 * equal) {
            proposals.push(Proposal {
                rewrite: Rewrite::SplitExpert { expert },
                reason: Reason::Overused { share },
            });
        }
    }
    proposals.retain(|proposal| proposal.rewrite.apply(spec).is_ok());
    if let Some(fall) = loss_fall(losses).filter(|fall| proposals.is_empty() && *fall < 0.005) {
        let expert = match spec.experts {
            Some(_) => Rewrite::AddExpert { like: most_used.unwrap_or(0) },
            None => Rewrite::Upcycle { experts: Experts::new(EXPERT_NAMES.len() as u8, 2) },
        };
        let wider = spec.feed_forward.saturating_add(spec.feed_forward.div_ceil(4));
        let others =
            [Rewrite::Widen { feed_forward: wider }, Rewrite::InsertBlock { at: spec.layers / 2 }];
        let fitting =
            std::iter::once(expert).chain(others).filter(|rewrite| rewrite.apply(spec).is_ok());
        proposals
            .extend(fitting.map(|rewrite| Proposal { rewrite, reason: Reason::Plateau { fall } }));
    }
    proposals
}

/// By which part the mean of the last quarter of `losses` is below that of the quarter before; None
/// for fewer than [`LEAST_LOSSES`].
pub fn loss_fall(losses: &[f64]) -> Option<f64> {
    let quarter = losses.len() / 4;
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (before, last) = losses[losses.len() - 2 * quarter..].split_at(quarter);
    (losses.len() >= LEAST_LOSSES)
        .then(|| 1.0 - mean(last) / mean(before))
        .filter(|fall| fall.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Decoder, Routing, Weights,
        families::{families, lively},
    };
    use tch::{Kind, Tensor};

    const TOKENS: [[i64; 7]; 2] = [[1, 2, 3, 4, 5, 6, 7], [12, 0, 12, 3, 3, 9, 1]];

    fn tokens() -> Tensor {
        Tensor::from_slice(TOKENS.as_flattened()).view([2, 7])
    }

    fn logits(spec: &ModelSpec, parameters: &[f32]) -> Tensor {
        let weights = Weights::new(&Layout::new(spec).unwrap(), parameters).unwrap();
        Decoder::new(spec).unwrap().logits(&weights, &tokens().narrow(1, 0, 6)).unwrap()
    }

    /// Every family, without experts and with, where only some are active.
    fn models() -> impl Iterator<Item = (String, ModelSpec)> {
        families().into_iter().flat_map(|(name, spec)| {
            let experts = ModelSpec { experts: Some(Experts::new(5, 2)), ..spec };
            [(name.into(), spec), (format!("{name} of experts"), experts)]
        })
    }

    fn rewrites(spec: &ModelSpec) -> Vec<Rewrite> {
        let mut all = vec![Rewrite::Widen { feed_forward: spec.feed_forward + 5 }];
        all.extend((0..=spec.layers).map(|at| Rewrite::InsertBlock { at }));
        match spec.experts {
            None => all.extend(
                [(5, 2), (3, 1), (4, 4)]
                    .map(|(n, k)| Rewrite::Upcycle { experts: Experts::new(n, k) }),
            ),
            Some(_) => {
                all.extend([Rewrite::AddExpert { like: 3 }, Rewrite::SplitExpert { expert: 1 }])
            }
        }
        all
    }

    fn blake3(values: &[f32]) -> blake3::Hash {
        blake3::hash(bytemuck::cast_slice(values))
    }

    #[test]
    fn what_a_model_computes_stays() {
        for (name, spec) in models() {
            let parameters = lively(&spec);
            let before = logits(&spec, &parameters);
            for rewrite in rewrites(&spec) {
                let rewriting = Rewriting::new(&spec, &rewrite).unwrap();
                let rewritten = rewriting.parameters(&parameters).unwrap();
                assert_eq!(rewritten.len() as u64, rewriting.spec().size());
                let far =
                    (logits(rewriting.spec(), &rewritten) - &before).abs().max().double_value(&[]);
                assert!(far < 1e-5, "{name}, {rewrite:?}: {far}");
            }
            assert!(before.abs().max().double_value(&[]) > 0.5, "{name}: logits too small to tell");
        }
    }

    #[test]
    fn two_peers_arrive_at_the_same_model() {
        for (name, spec) in models() {
            let (parameters, moment) =
                (lively(&spec), lively(&spec).into_iter().rev().collect::<Vec<_>>());
            for rewrite in rewrites(&spec) {
                let peer = || {
                    let rewriting = Rewriting::new(&spec, &rewrite).unwrap();
                    [rewriting.parameters(&parameters), rewriting.carried(&moment)]
                        .map(|all| blake3(&all.unwrap()))
                };
                assert_eq!(peer(), peer(), "{name}, {rewrite:?}");
            }
        }
        // Pinned: peers of different builds must agree as well.
        let (_, spec) = families()[0];
        let upcycling =
            Rewriting::new(&spec, &Rewrite::Upcycle { experts: Experts::new(5, 2) }).unwrap();
        let pinned = blake3(&upcycling.parameters(&lively(&spec)).unwrap());
        assert_eq!(pinned.to_hex()[..16], *"b1448232819aced1");
    }

    #[test]
    fn what_is_carried_is_copied_or_zero() {
        for (name, spec) in models() {
            // Every value once, so that each tells where it came from.
            let places: Vec<f32> = (1..=spec.size()).map(|place| place as f32).collect();
            for rewrite in rewrites(&spec) {
                let rewriting = Rewriting::new(&spec, &rewrite).unwrap();
                let carried = rewriting.carried(&places).unwrap();
                let parameters = rewriting.parameters(&places).unwrap();
                let mut seen = vec![false; places.len() + 1];
                for (index, (&carried, &parameter)) in carried.iter().zip(&parameters).enumerate() {
                    seen[carried as usize] = true;
                    assert!(carried == 0.0 || carried == parameter, "{name}, {rewrite:?}: {index}");
                }
                // Nothing is lost.
                assert!(seen[1..].iter().all(|&seen| seen), "{name}, {rewrite:?}");
            }
        }
    }

    #[test]
    fn removing_what_was_added_gives_what_was_before() {
        for (name, spec) in models().filter(|(_, spec)| spec.experts.is_some()) {
            let parameters = lively(&spec);
            for rewrite in [Rewrite::AddExpert { like: 3 }, Rewrite::SplitExpert { expert: 1 }] {
                let added = Rewriting::new(&spec, &rewrite).unwrap();
                let removed =
                    Rewriting::new(added.spec(), &Rewrite::PruneExpert { expert: 5 }).unwrap();
                assert_eq!(*removed.spec(), spec);
                let back = removed.parameters(&added.parameters(&parameters).unwrap()).unwrap();
                assert_eq!(blake3(&back), blake3(&parameters), "{name}");
            }
        }
    }

    #[test]
    fn pruning_an_unused_expert_changes_nothing() {
        for (name, spec) in models().filter(|(_, spec)| spec.experts.is_some()) {
            let mut parameters = lively(&spec);
            for slot in Layout::new(&spec)
                .unwrap()
                .tensors()
                .iter()
                .filter(|s| s.parameter.name.ends_with("mlp.router.bias"))
            {
                parameters[slot.offset + 2] = -9.0;
            }
            let pruned = Rewriting::new(&spec, &Rewrite::PruneExpert { expert: 2 }).unwrap();
            let after = logits(pruned.spec(), &pruned.parameters(&parameters).unwrap());
            let far = (after - logits(&spec, &parameters)).abs().max().double_value(&[]);
            assert!(far < 1e-5, "{name}: {far}");
        }
    }

    #[test]
    fn vectors_of_another_model_are_refused() {
        let (_, spec) = families()[0];
        let rewriting = Rewriting::new(&spec, &Rewrite::InsertBlock { at: 1 }).unwrap();
        assert!(matches!(rewriting.parameters(&[0.0; 3]), Err(Error::Length { found: 3, .. })));
        assert!(Rewriting::new(&spec, &Rewrite::AddExpert { like: 0 }).is_err());
    }

    /// Adam without decay, enough to see a loss fall.
    struct Training {
        spec: ModelSpec,
        parameters: Vec<f32>,
        moments: [Vec<f32>; 2],
        step: i32,
    }

    impl Training {
        fn run(&mut self, steps: i32) {
            tch::set_num_threads(1);
            let layout = Layout::new(&self.spec).unwrap();
            let decoder = Decoder::new(&self.spec).unwrap();
            for _ in 0..steps {
                self.step += 1;
                let weights = Weights::new(&layout, &self.parameters).unwrap().share(true).unwrap();
                let mut gradient = vec![0.0; layout.len()];
                weights
                    .gradient(
                        &decoder.outcome(&weights, &tokens()).unwrap().objective,
                        &mut gradient,
                    )
                    .unwrap();
                let unbias = [1.0 - 0.9f32.powi(self.step), 1.0 - 0.95f32.powi(self.step)];
                let [first, second] = &mut self.moments;
                for (index, &g) in gradient.iter().enumerate() {
                    first[index] = 0.9 * first[index] + 0.1 * g;
                    second[index] = 0.95 * second[index] + 0.05 * g * g;
                    let step =
                        first[index] / unbias[0] / ((second[index] / unbias[1]).sqrt() + 1e-8);
                    self.parameters[index] -= 2e-3 * step;
                }
            }
        }

        fn loss(&self) -> f64 {
            let weights =
                Weights::new(&Layout::new(&self.spec).unwrap(), &self.parameters).unwrap();
            Decoder::new(&self.spec)
                .unwrap()
                .loss(&weights, &tokens())
                .unwrap()
                .mean(Kind::Float)
                .double_value(&[])
        }

        fn rewrite(&mut self, rewrite: &Rewrite) {
            let rewriting = Rewriting::new(&self.spec, rewrite).unwrap();
            self.parameters = rewriting.parameters(&self.parameters).unwrap();
            for moment in &mut self.moments {
                *moment = rewriting.carried(moment).unwrap();
            }
            self.spec = *rewriting.spec();
        }
    }

    #[test]
    fn training_goes_on_falling() {
        for (name, spec) in families() {
            let parameters = crate::initial_parameters(&spec, &[5; 32]);
            let moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
            let mut training = Training { spec, parameters, moments, step: 0 };
            training.run(25);
            for rewrite in [
                Rewrite::Upcycle { experts: Experts::new(5, 2) },
                Rewrite::AddExpert { like: 0 },
                Rewrite::InsertBlock { at: 1 },
                Rewrite::SplitExpert { expert: 1 },
                Rewrite::Widen { feed_forward: 16 },
            ] {
                let before = training.loss();
                training.rewrite(&rewrite);
                assert!(
                    (training.loss() - before).abs() < 1e-5,
                    "{name}, {rewrite:?}: {before} became {}",
                    training.loss()
                );
                training.run(12);
                assert!(
                    training.loss() < before,
                    "{name}, {rewrite:?}: {before} rose to {}",
                    training.loss()
                );
            }
        }
    }

    #[test]
    fn a_new_expert_awakes() {
        // Its bias falls behind no longer, as it is never chosen; then it is.
        let (_, dense) = families()[0];
        let spec = ModelSpec { experts: Some(Experts::new(2, 1)), layers: 1, ..dense };
        let parameters = crate::initial_parameters(&spec, &[5; 32]);
        let moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
        let mut training = Training { spec, parameters, moments, step: 0 };
        training.run(5);
        training.rewrite(&Rewrite::SplitExpert { expert: 0 });
        let load = |training: &Training| {
            let weights =
                Weights::new(&Layout::new(&training.spec).unwrap(), &training.parameters).unwrap();
            Decoder::new(&training.spec).unwrap().outcome(&weights, &tokens()).unwrap().routing[0]
                .load[2]
        };
        assert_eq!(load(&training), 0);
        let chosen = (0..120).any(|_| {
            training.run(10);
            load(&training) > 0
        });
        assert!(chosen, "not chosen after 1,200 steps");
    }

    #[test]
    fn experts_have_names() {
        let upcycle = |count| Rewrite::Upcycle { experts: Experts::new(count, 2) };
        assert_eq!(expert_names(&[upcycle(5)]), EXPERT_NAMES);
        assert_eq!(expert_names(&[upcycle(6)])[5], "5");
        let history = [
            upcycle(5),
            Rewrite::SplitExpert { expert: 1 },
            Rewrite::PruneExpert { expert: 0 },
            Rewrite::InsertBlock { at: 0 },
        ];
        assert_eq!(
            expert_names(&history),
            ["mathematics", "code", "reasoning", "memory", "mathematics'"]
        );
        assert_eq!(
            expert_names(&[Rewrite::AddExpert { like: 1 }, Rewrite::PruneExpert { expert: 1 }]),
            Vec::<String>::new()
        );
    }

    /// Use of the four experts of a model of two blocks.
    fn measured(spec: &ModelSpec, blocks: [[usize; 4]; 2]) -> Utilisation {
        let mut seen = Utilisation::new(spec, 1).unwrap();
        let routing = blocks.map(|loads| {
            let chosen: Vec<i64> =
                (0..4).flat_map(|expert| vec![expert as i64; loads[expert]]).collect();
            let zero = || Tensor::from(0.0);
            Routing {
                chosen: Tensor::from_slice(&chosen).view([-1, 1]),
                load: loads.map(|tokens| tokens as i64).to_vec(),
                balance: zero(),
                z: zero(),
                steering: zero(),
            }
        });
        seen.observe(&routing, &[0]).unwrap();
        seen
    }

    #[test]
    fn measures_speak_for_rewrites() {
        let dense = ModelSpec::gpt2(13, 8, 2, 2, 12, 6);
        let spec = ModelSpec { experts: Some(Experts::new(4, 2)), ..dense };
        let flat = [1.0; 16];
        let falling: Vec<f64> = (0..16).map(|round| 2.0 - 0.05 * f64::from(round)).collect();
        let rewrites =
            |spec: &ModelSpec, seen: Option<Utilisation>, losses: &[f64]| -> Vec<Rewrite> {
                propose(spec, seen.as_ref(), losses)
                    .into_iter()
                    .map(|proposal| proposal.rewrite)
                    .collect()
            };
        let even = || Some(measured(&spec, [[25; 4]; 2]));
        let (wider, deeper) = (Rewrite::Widen { feed_forward: 15 }, Rewrite::InsertBlock { at: 1 });
        assert_eq!(rewrites(&spec, even(), &falling), []);
        assert_eq!(rewrites(&spec, even(), &flat[1..]), []);
        assert_eq!(rewrites(&spec, even(), &flat), [Rewrite::AddExpert { like: 0 }, wider, deeper]);
        assert_eq!(
            rewrites(&dense, None, &flat),
            [Rewrite::Upcycle { experts: Experts::new(5, 2) }, wider, deeper]
        );
        // Unused in every block, or in one only.
        let unused = [[33, 33, 33, 1], [32, 33, 32, 3]];
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, unused)), &flat),
            [Rewrite::PruneExpert { expert: 3 }]
        );
        let proposal = propose(&spec, Some(&measured(&spec, unused)), &[])[0];
        assert_eq!(proposal.reason, Reason::Unused { share: 0.03 });
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, [[33, 33, 33, 1], [32, 32, 32, 4]])), &[]),
            []
        );
        let overused = [[10, 60, 20, 10], [20, 50, 10, 20]];
        assert_eq!(
            rewrites(&spec, Some(measured(&spec, overused)), &flat),
            [Rewrite::SplitExpert { expert: 1 }]
        );
        // Nothing observed says nothing.
        assert_eq!(rewrites(&spec, Utilisation::new(&spec, 1), &falling), []);
        // No expert can be removed when all are active.
        let all = ModelSpec { experts: Some(Experts::new(4, 4)), ..dense };
        assert_eq!(rewrites(&all, Some(measured(&all, unused)), &falling), []);
    }
}
