// SPDX-License-Identifier: Apache-2.0

use crate::{
    folder::ImportedModel,
    report::{Adaptation, unused_rows_note},
};
use pol_model::adapt::{AdaptError, adapt, apply_rewrites};
use pol_primitives::{Hash, model::ModelSpec, rewrite::Rewrite};

impl ImportedModel {
    /// Creates a model of `target` by the rules of [`adapt`](mod@pol_model::adapt) and applies
    /// `rewrites` to it. Initial values are drawn with `seed`.
    ///
    /// The report keeps the source and records the adaptation. The root is computed when the model
    /// is saved.
    ///
    /// # Errors
    ///
    /// Fails if `target` differs in more than sizes or a rewrite does not apply.
    pub fn adapt(
        &self,
        target: &ModelSpec,
        rewrites: &[Rewrite],
        seed: &Hash,
    ) -> Result<Self, AdaptError> {
        let adapted = adapt(&self.spec, &self.parameters, target, seed)?;
        let (spec, parameters) = apply_rewrites(target, adapted.parameters, rewrites)?;
        let mut report = self.report.clone();
        report.adapted.push(Adaptation {
            from: self.root,
            sizes: adapted.report,
            rewrites: rewrites.to_vec(),
        });
        report.parameters = spec.size();
        // The report of the original model has the disposition of the checkpoint's tensors.
        report.tensors.clear();
        let entries = report.tokenizer.as_ref().map(|tokenizer| tokenizer.entries);
        let note = |spec: &ModelSpec| {
            entries.and_then(|entries| unused_rows_note(entries, spec.vocabulary))
        };
        report.notes.retain(|existing| Some(existing) != note(&self.spec).as_ref());
        report.notes.extend(note(&spec));
        Ok(Self {
            spec,
            parameters,
            root: Hash::default(),
            tokenizer: self.tokenizer.clone(),
            report,
        })
    }
}
