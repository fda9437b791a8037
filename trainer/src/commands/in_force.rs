// SPDX-License-Identifier: Apache-2.0

//! Calls of governance, compared with the state of the chain before anything is sent: those whose
//! effect is there already, and those that the chain would refuse.
//!
//! A council decides on a proposal when its last vote comes, which may be much later. So a proposal
//! that changes nothing, or that cannot be carried out, is not made.

use super::holdings::read_all;
use anyhow::{Context, Result, bail, ensure};
use pol_chain::{AccountId, Call, Chain};
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ManifestStatus, SourceKind},
    lineage::Retirement,
    recipe::Recipe,
};

/// Returns the sentence that says so if the effect of `call` is in force already, and `None` if
/// there is something to decide.
///
/// # Errors
///
/// Fails if the chain would refuse the call, and if the node cannot answer.
pub(super) async fn effect_in_force(chain: &Chain, call: &Call) -> Result<Option<String>> {
    let chain = &chain.at(chain.best_block().await?.hash);
    let said = |is_in_force: bool, said: &str| is_in_force.then(|| said.to_owned());
    match call {
        Call::SetRecipe(recipe) => recipe_in_force(chain, recipe).await,
        Call::SetLengths(lengths) => {
            let now = chain.overview().await?.config;
            Ok(said(now == *lengths, "these lengths are in force already"))
        }
        Call::SetAudits(config) => {
            let now = chain.audit_config().await?;
            Ok(said(now == *config, "this configuration of audits is in force already"))
        }
        Call::SetBeacon(beacon) => {
            let now = chain.beacon().await?;
            Ok(said(now == *beacon, "this beacon is in force already"))
        }
        Call::AdmitManifest { manifest, kind } => {
            let record = known(*manifest, chain.manifest(*manifest).await?)?;
            let admitted = chain.manifest_of_content(&record.info.content_hash).await?;
            admission(*manifest, &record, *kind, admitted)
        }
        Call::PauseManifest(manifest) => {
            pause(*manifest, &known(*manifest, chain.manifest(*manifest).await?)?)
        }
        Call::ResumeManifest(manifest) => {
            resumption(*manifest, &known(*manifest, chain.manifest(*manifest).await?)?)
        }
        Call::RetireManifest { manifest, retirement } => {
            let before = chain.retirement(*manifest).await?;
            retirement_of(*manifest, chain.manifest(*manifest).await?, before, retirement)
        }
        _ => Ok(None),
    }
}

/// Returns the record of a manifest that the chain has.
fn known(id: ManifestId, manifest: Option<Manifest<AccountId>>) -> Result<Manifest<AccountId>> {
    manifest.with_context(|| {
        format!("the chain has no manifest {id}; `pol-trainer data list` shows those that it has")
    })
}

/// Compares an admission with the state of the manifest. `admitted` is the manifest that was
/// admitted with the same content.
fn admission(
    id: ManifestId,
    manifest: &Manifest<AccountId>,
    kind: SourceKind,
    admitted: Option<ManifestId>,
) -> Result<Option<String>> {
    match manifest.status {
        ManifestStatus::Proposed => {
            if let Some(other) = admitted {
                bail!(
                    "manifest {id} cannot be admitted: manifest {other} was admitted with the same \
                     content"
                );
            }
            Ok(None)
        }
        ManifestStatus::Admitted | ManifestStatus::Consumed => {
            // Nothing depends on the kind of held-out text.
            if let Some(other) = manifest.kind.filter(|other| *other != kind)
                && !manifest.info.held_out
            {
                bail!(
                    "manifest {id} is admitted already, as another kind ({}), which does not \
                     change",
                    kind_name(other)
                );
            }
            Ok(Some(format!("manifest {id} is admitted already")))
        }
        ManifestStatus::Paused => {
            bail!("manifest {id} is paused; `pol-trainer data resume {id}` puts it back")
        }
        ManifestStatus::Retired => bail!("manifest {id} is retired for good"),
    }
}

/// Returns the name of a kind as on the command line.
fn kind_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Pretrained => "pretrained",
        SourceKind::Dataset => "dataset",
        SourceKind::Web => "web",
        SourceKind::Synthetic => "synthetic",
    }
}

/// Compares a pause with the state of the manifest.
fn pause(id: ManifestId, manifest: &Manifest<AccountId>) -> Result<Option<String>> {
    ensure!(!manifest.info.held_out, "manifest {id} is held out, so it is never in the pool");
    match manifest.status {
        ManifestStatus::Admitted => Ok(None),
        ManifestStatus::Paused => Ok(Some(format!("manifest {id} is paused already"))),
        ManifestStatus::Proposed => {
            bail!("manifest {id} is not admitted, so it is not in the pool")
        }
        ManifestStatus::Retired => bail!("manifest {id} is retired for good"),
        ManifestStatus::Consumed => bail!("all shards of manifest {id} are part of the model"),
    }
}

/// Compares a resumption with the state of the manifest.
fn resumption(id: ManifestId, manifest: &Manifest<AccountId>) -> Result<Option<String>> {
    match manifest.status {
        ManifestStatus::Paused => Ok(None),
        ManifestStatus::Admitted => Ok(Some(format!("manifest {id} is in the pool already"))),
        ManifestStatus::Proposed => {
            bail!("manifest {id} is not admitted; `pol-trainer data admit {id}` does that")
        }
        ManifestStatus::Retired => bail!("manifest {id} is retired for good"),
        ManifestStatus::Consumed => bail!("all shards of manifest {id} are part of the model"),
    }
}

/// Compares a retirement with the state of the manifest, and with the decision `before` by which it
/// was retired or refused.
fn retirement_of(
    id: ManifestId,
    manifest: Option<Manifest<AccountId>>,
    before: Option<Retirement>,
    retirement: &Retirement,
) -> Result<Option<String>> {
    let Some(before) = before else {
        // A manifest may be kept no more, and the decision about it too.
        let manifest = known(id, manifest)?;
        ensure!(manifest.status != ManifestStatus::Retired, "manifest {id} is retired already");
        return Ok(None);
    };
    ensure!(
        before == *retirement,
        "manifest {id} was retired or refused already, for another reason or on other evidence, \
         which does not change"
    );
    Ok(Some(format!("manifest {id} is retired already")))
}

/// Compares a recipe with the one that holds next, and checks that models can be measured by it.
async fn recipe_in_force(chain: &Chain, recipe: &Recipe) -> Result<Option<String>> {
    let next = chain.recipe_for_data().await?;
    let missing = missing_held_out(chain, recipe).await?;
    if next.as_ref() == Some(recipe) {
        let is_adopted = chain.recipe().await?.as_ref() == Some(recipe);
        let hash = hex::encode(recipe.hash());
        let since = if is_adopted { "in force already" } else { "set already, for the next round" };
        let but = missing.map(|missing| format!(", but {missing}")).unwrap_or_default();
        return Ok(Some(format!("recipe 0x{hash} is {since}{but}")));
    }
    require_held_out(recipe, next.as_ref(), missing)?;
    Ok(None)
}

/// Checks that models can be measured by a recipe that somebody proposed.
///
/// # Errors
///
/// Fails if the recipe's held-out text is not admitted although it can be, and if the node cannot
/// answer.
pub(super) async fn check_proposed_recipe(chain: &Chain, recipe: &Recipe) -> Result<()> {
    let next = chain.recipe_for_data().await?;
    require_held_out(recipe, next.as_ref(), missing_held_out(chain, recipe).await?)
}

/// Fails if held-out text is `missing` that can be admitted while the recipe `next` holds, and
/// warns if it cannot.
fn require_held_out(recipe: &Recipe, next: Option<&Recipe>, missing: Option<String>) -> Result<()> {
    if let Some(missing) = missing {
        ensure!(
            !can_be_admitted_before(recipe, next),
            "{missing}. Then decide on the recipe, or propose it without held_out"
        );
        tracing::warn!("{missing}");
    }
    Ok(())
}

/// Returns `true` if data of the format of `recipe` can be admitted while the recipe `next` holds.
/// The chain takes data of one format at a time, and none before the first recipe.
fn can_be_admitted_before(recipe: &Recipe, next: Option<&Recipe>) -> bool {
    let format = |recipe: &Recipe| (recipe.shard_tokens, recipe.tokenizer);
    next.is_some_and(|next| format(next) == format(recipe))
}

/// Returns what is to be done if the held-out text of `recipe` is not admitted.
///
/// # Errors
///
/// Fails if the recipe names text to train on, and if the node cannot answer.
async fn missing_held_out(chain: &Chain, recipe: &Recipe) -> Result<Option<String>> {
    let Some(content_hash) = recipe.held_out else { return Ok(None) };
    if let Some(id) = chain.manifest_of_content(&content_hash).await? {
        let manifest = chain.manifest(id).await?;
        check_is_held_out(id, manifest.as_ref())?;
        return Ok(None);
    }
    let manifests = read_all(chain.manifest_count().await?, async |id| chain.manifest(id).await);
    let manifests = manifests.await?;
    let is_of = |manifest: &Manifest<AccountId>| {
        manifest.info.content_hash == content_hash && manifest.status == ManifestStatus::Proposed
    };
    let registered = manifests.iter().find(|(_, manifest)| is_of(manifest));
    if let Some((id, manifest)) = registered {
        check_is_held_out(*id, Some(manifest))?;
    }
    Ok(Some(describe_missing(&content_hash, registered.map(|(id, _)| *id))))
}

/// Checks that a manifest that a recipe names as held-out text is held out.
fn check_is_held_out(id: ManifestId, manifest: Option<&Manifest<AccountId>>) -> Result<()> {
    ensure!(
        manifest.is_none_or(|manifest| manifest.info.held_out),
        "held_out of the recipe names manifest {id}, which is text to train on: name held-out text"
    );
    Ok(())
}

/// Says that held-out text is not admitted, and how that is mended. `registered` is its manifest,
/// if there is one.
fn describe_missing(content_hash: &Hash, registered: Option<ManifestId>) -> String {
    let text = format!("0x{}", hex::encode(content_hash));
    match registered {
        Some(id) => format!(
            "models are not measured while manifest {id}, the recipe's held-out text {text}, is \
             not admitted: run `pol-trainer data admit {id}`"
        ),
        None => format!(
            "models are not measured while the recipe's held-out text {text} is not admitted: run \
             `pol-trainer data register` for its folder, and `pol-trainer data admit` for the \
             manifest"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::withdrawal::tests::manifest, *};
    use crate::preset::Preset;
    use ManifestStatus::{Admitted, Consumed, Paused, Proposed, Retired};
    use pol_data::IngestRecord;
    use pol_primitives::lineage::RetirementReason;

    /// Checks the sentence of what is in force, or the error; `None` stands for a decision to make.
    fn check(found: Result<Option<String>>, expected: Option<Result<&str, &str>>) {
        match (&found, expected) {
            (Ok(None), None) => {}
            (Ok(Some(said)), Some(Ok(expected))) => assert!(said.contains(expected), "{said}"),
            (Err(error), Some(Err(expected))) => {
                assert!(error.to_string().contains(expected), "{error}");
            }
            _ => panic!("expected {expected:?}, found {found:?}"),
        }
    }

    fn of_status(status: ManifestStatus) -> Manifest<AccountId> {
        Manifest { kind: Some(SourceKind::Web), ..manifest(status, false, 5) }
    }

    #[test]
    fn only_a_proposed_manifest_is_admitted() {
        let admit = |status, kind| admission(3, &of_status(status), kind, None);
        check(admit(Proposed, SourceKind::Web), None);
        check(admit(Admitted, SourceKind::Web), Some(Ok("manifest 3 is admitted already")));
        check(admit(Consumed, SourceKind::Web), Some(Ok("admitted already")));
        check(admit(Admitted, SourceKind::Dataset), Some(Err("as another kind (web)")));
        check(admit(Paused, SourceKind::Web), Some(Err("data resume 3")));
        check(admit(Retired, SourceKind::Web), Some(Err("retired for good")));
        let held_out = Manifest { kind: Some(SourceKind::Web), ..manifest(Admitted, true, 0) };
        check(admission(3, &held_out, SourceKind::Dataset, None), Some(Ok("admitted already")));
        let copy = admission(3, &of_status(Proposed), SourceKind::Web, Some(1));
        check(copy, Some(Err("manifest 1 was admitted with the same content")));
        let unknown = known(3, None).unwrap_err().to_string();
        assert!(unknown.contains("no manifest 3") && unknown.contains("data list"), "{unknown}");
    }

    #[test]
    fn only_an_admitted_manifest_is_paused_and_a_paused_one_resumed() {
        for (status, paused, resumed) in [
            (Proposed, Some(Err("not admitted")), Some(Err("data admit 3"))),
            (Admitted, None, Some(Ok("in the pool already"))),
            (Paused, Some(Ok("paused already")), None),
            (Retired, Some(Err("for good")), Some(Err("for good"))),
            (Consumed, Some(Err("part of the model")), Some(Err("part of the model"))),
        ] {
            check(pause(3, &of_status(status)), paused);
            check(resumption(3, &of_status(status)), resumed);
        }
        check(pause(3, &manifest(Admitted, true, 0)), Some(Err("held out")));
    }

    #[test]
    fn a_manifest_is_retired_once() {
        let reason = RetirementReason::Licence;
        let retirement = Retirement { reason, evidence: None, for_cause: false };
        let retire = |manifest, before| retirement_of(3, manifest, before, &retirement);
        check(retire(Some(of_status(Admitted)), None), None);
        check(retire(Some(of_status(Consumed)), None), None);
        check(retire(None, None), Some(Err("no manifest 3")));
        let said = Some(Ok("manifest 3 is retired already"));
        check(retire(Some(of_status(Retired)), Some(retirement)), said);
        check(retire(None, Some(retirement)), said);
        let other = Retirement { for_cause: true, ..retirement };
        check(retire(Some(of_status(Retired)), Some(other)), Some(Err("another reason")));
    }

    #[test]
    fn held_out_text_is_admitted_first_wherever_it_can_be() {
        let data = IngestRecord {
            vocabulary: 8_192,
            sequence: 128,
            shard_tokens: 4_096,
            ..Default::default()
        };
        let recipe = Preset::Demo.sizes(&data).recipe([7; 32]);
        assert!(!can_be_admitted_before(&recipe, None), "no data is taken before a recipe");
        let same = Recipe { outer_rate: 1, ..recipe.clone() };
        assert!(can_be_admitted_before(&recipe, Some(&same)));
        let other = Recipe { tokenizer: [8; 32], ..recipe.clone() };
        assert!(!can_be_admitted_before(&recipe, Some(&other)));
        let longer = Recipe { shard_tokens: 8_192, ..recipe.clone() };
        assert!(!can_be_admitted_before(&recipe, Some(&longer)));
        let require = |next, missing: Option<&str>| {
            require_held_out(&recipe, next, missing.map(str::to_owned))
        };
        assert!(require(Some(&same), None).is_ok());
        assert!(require(None, Some("missing")).is_ok(), "it has to come first");
        let refused = require(Some(&same), Some("missing")).unwrap_err().to_string();
        assert!(refused.starts_with("missing. "), "{refused}");
    }

    #[test]
    fn missing_held_out_text_is_named_with_the_next_step() {
        let registered = describe_missing(&[7; 32], Some(3));
        assert!(registered.contains("`pol-trainer data admit 3`"), "{registered}");
        let unknown = describe_missing(&[7; 32], None);
        assert!(unknown.contains("data register") && unknown.contains("0x0707"), "{unknown}");
        assert!(check_is_held_out(3, Some(&manifest(Admitted, true, 0))).is_ok());
        let trained_on = check_is_held_out(3, Some(&manifest(Admitted, false, 5))).unwrap_err();
        assert!(trained_on.to_string().contains("text to train on"), "{trained_on}");
    }
}
