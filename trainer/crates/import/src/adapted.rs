//! A model of other sizes, or with other parts, made of one that was imported.

use crate::{Model, unused_rows};
use pol_model::adapt::{AdaptError, AdaptReport, adapt, rewrite};
use pol_primitives::{Hash, model::ModelSpec, rewrite::Rewrite};
use serde::{Deserialize, Serialize};

/// How a model came about from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptation {
    /// Root of the model before.
    #[serde(with = "pol_primitives::hex_hash")]
    pub from: Hash,
    /// How its sizes and parts changed.
    pub sizes: AdaptReport,
    /// The rewrites after that, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewrites: Vec<Rewrite>,
}

impl Adaptation {
    /// Whether the model computes what it computed before, but for rounding. Removing an expert is
    /// not counted as that, although it is where no token goes to it.
    pub fn preserved(&self) -> bool {
        self.sizes.preserved
            && !self.rewrites.iter().any(|rewrite| matches!(rewrite, Rewrite::PruneExpert { .. }))
    }
}

impl Model {
    /// This model made `target` by the rules of [`adapt`](mod@pol_model::adapt) and then changed by
    /// `rewrites`, one after the other; `seed` draws what starts fresh. Its report tells so, and
    /// names what it is from as before; the root is known when it is saved.
    pub fn adapted(
        &self,
        target: &ModelSpec,
        rewrites: &[Rewrite],
        seed: &Hash,
    ) -> Result<Self, AdaptError> {
        let made = adapt(&self.spec, &self.parameters, target, seed)?;
        let (spec, parameters) = rewrite(target, made.parameters, rewrites)?;
        let mut report = self.report.clone();
        report.adapted.push(Adaptation {
            from: self.root,
            sizes: made.report,
            rewrites: rewrites.to_vec(),
        });
        report.parameters = spec.size();
        // What became of the checkpoint's tensors is told by the model before; what is said of the
        // vocabulary may have changed.
        report.tensors.clear();
        let entries = report.tokenizer.as_ref().map(|tokenizer| tokenizer.entries);
        let unused =
            |spec: &ModelSpec| entries.and_then(|entries| unused_rows(entries, spec.vocabulary));
        report.notes.retain(|note| Some(note) != unused(&self.spec).as_ref());
        report.notes.extend(unused(&spec));
        Ok(Self {
            spec,
            parameters,
            root: Hash::default(),
            tokenizer: self.tokenizer.clone(),
            report,
        })
    }
}
