// SPDX-License-Identifier: Apache-2.0

//! Manifests that the text of another one was made from, as the chain registers them.
//!
//! A provider states some. The documents name others: those of a data set that a Croissant file
//! describes carry what it was derived from, and those of a described manifest its content hash.

use clap::ValueEnum;
use pol_data::{
    DataError,
    documents::{DocumentIndex, croissant::ManifestName},
};
use pol_primitives::{
    BoundedVec, ConstU32,
    data::{MAX_PARENTS, ManifestId, ManifestInfo},
    lineage::{Activity, Derivation, Retirement, RetirementReason},
};
use serde::Deserialize;
use std::{collections::BTreeSet, path::Path};

/// Most names of manifests that the documents of a folder may have. Some may be of other chains.
pub(super) const MAX_NAMES: usize = 1_024;

/// Reason why a manifest cannot be registered with its parents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParentError {
    /// A parent is not on the chain.
    #[error(
        "the text is to be derived from manifest {0}, which the chain does not have: \
         `pol-trainer data list` prints those that it has"
    )]
    Unknown(ManifestId),
    /// Nothing may be derived from a parent.
    #[error(
        "the text is derived from manifest {id}, which was retired ({}), so that the chain takes \
         nothing that is made from it: make the data without it",
        describe(.retirement)
    )]
    Retired {
        /// Parent.
        id: ManifestId,
        /// Decision about it.
        retirement: Retirement,
    },
    /// There are too many parents.
    #[error(
        "the text is derived from {0} manifests, and one names at most {most}: ingest it in parts, \
         each of the text of fewer",
        most = MAX_PARENTS
    )]
    TooMany(usize),
    /// The documents name too many.
    #[error(
        "the documents name more than {most} manifests that they were derived from: ingest them in \
         parts",
        most = MAX_NAMES
    )]
    TooManyNames,
    /// There are no parents.
    #[error(
        "text is selected or transformed from that of other manifests, and none is named: name \
         them with --parent, or parents in a configuration, or state no activity"
    )]
    Missing,
    /// The manifest is on the chain with another making.
    #[error(
        "manifest {id} was registered before as {made}, which does not change any more: take it \
         back by `pol-trainer data withdraw {id}` and register it again, or state no parents"
    )]
    Registered {
        /// Manifest.
        id: ManifestId,
        /// Its making, in words.
        made: String,
    },
}

/// Way in which text was made from that of its parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DerivingActivity {
    /// Some of the text was chosen, and stays as it is.
    Selection,
    /// The text was changed, such as by a translation.
    Transformation,
}

impl From<DerivingActivity> for Activity {
    fn from(activity: DerivingActivity) -> Self {
        match activity {
            DerivingActivity::Selection => Self::Selection,
            DerivingActivity::Transformation => Self::Transformation,
        }
    }
}

/// Parents of a text, as its provider states them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StatedParents {
    ids: BTreeSet<ManifestId>,
    activity: Option<Activity>,
}

impl StatedParents {
    /// Creates the statement.
    ///
    /// # Errors
    ///
    /// Fails if there are more than a manifest can have.
    pub(super) fn new(
        ids: &[ManifestId],
        activity: Option<DerivingActivity>,
    ) -> Result<Self, ParentError> {
        let ids: BTreeSet<_> = ids.iter().copied().collect();
        bounded(&ids)?;
        Ok(Self { ids, activity: activity.map(Into::into) })
    }

    /// Fails if a manifest is on the chain without what is stated.
    pub(super) fn check_registered(
        &self,
        id: ManifestId,
        info: &ManifestInfo,
    ) -> Result<(), ParentError> {
        let activity = info.derivation.activity;
        let is_stated = self.ids.iter().all(|parent| info.parents.contains(parent))
            && self.activity.is_none_or(|stated| stated == activity);
        if is_stated {
            return Ok(());
        }
        let made = format!("{activity:?}").to_lowercase();
        let made = match info.parents.as_slice() {
            [] => format!("{made} without parents"),
            parents => format!("{made} from {parents:?}"),
        };
        Err(ParentError::Registered { id, made })
    }
}

/// Parents and derivation of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Making {
    pub(super) parents: BoundedVec<ManifestId, ConstU32<MAX_PARENTS>>,
    pub(super) derivation: Derivation,
}

impl Making {
    /// Returns the making of a manifest that is registered.
    pub(super) fn of(info: &ManifestInfo) -> Self {
        Self { parents: info.parents.clone(), derivation: info.derivation.clone() }
    }

    /// Returns the making of text with a derivation, from parents that are stated and `named` ones.
    /// Collected text that has parents was selected from them, unless something else is stated.
    ///
    /// # Errors
    ///
    /// Fails if there are more than a manifest can have, or none where they are needed.
    pub(super) fn new(
        derivation: Derivation,
        stated: &StatedParents,
        named: &BTreeSet<ManifestId>,
    ) -> Result<Self, ParentError> {
        let parents = bounded(&(&stated.ids | named))?;
        let activity = match (stated.activity, derivation.activity) {
            (Some(activity), _) => activity,
            (None, Activity::Collection) if !parents.is_empty() => Activity::Selection,
            (None, activity) => activity,
        };
        if activity.needs_parents() && parents.is_empty() {
            return Err(ParentError::Missing);
        }
        Ok(Self { parents, derivation: Derivation { activity, ..derivation } })
    }
}

/// Returns the parents in ascending order.
fn bounded(
    ids: &BTreeSet<ManifestId>,
) -> Result<BoundedVec<ManifestId, ConstU32<MAX_PARENTS>>, ParentError> {
    let parents = BoundedVec::try_from(ids.iter().copied().collect::<Vec<_>>());
    parents.map_err(|_| ParentError::TooMany(ids.len()))
}

/// Returns a decision in words.
fn describe(retirement: &Retirement) -> String {
    let reason = match retirement.reason {
        RetirementReason::OptOut => "opt-out",
        RetirementReason::Licence => "licence",
        RetirementReason::Quality => "quality",
        RetirementReason::Contamination => "contamination",
        RetirementReason::Unavailable => "unavailable",
        RetirementReason::Other => "another reason",
    };
    format!("{reason}{}", if retirement.for_cause { ", for cause" } else { "" })
}

/// Returns the manifests that documents in the shards of a folder name as those that they were
/// derived from, unless they name too many.
///
/// # Errors
///
/// Fails if the records of the documents cannot be read.
pub(super) fn named_in(
    folder: &Path,
) -> Result<Result<BTreeSet<ManifestName>, ParentError>, DataError> {
    let mut names = BTreeSet::new();
    for record in DocumentIndex::open(folder)?.records()? {
        let record = record?;
        if record.place.is_some() {
            let signals = record.origin.signals.iter();
            names.extend(signals.filter_map(|signal| ManifestName::of_signal(signal)));
        }
        if names.len() > MAX_NAMES {
            return Ok(Err(ParentError::TooManyNames));
        }
    }
    Ok(Ok(names))
}

#[cfg(test)]
mod tests {
    use super::{super::withdrawal::tests::manifest, *};
    use pol_corpus::{DocumentRecord, Origin, Place, Side, Tool};
    use pol_data::documents::{DocumentWriter, croissant::derivation_signal};
    use pol_primitives::data::ManifestStatus;

    const NONE: &[ManifestId] = &[];

    fn derivation(activity: Activity) -> Derivation {
        let info = manifest(ManifestStatus::Proposed, false, 5).info;
        Derivation { activity, ..info.derivation }
    }

    #[test]
    fn text_with_parents_is_selected_from_them_unless_more_is_known() {
        use Activity::{Collection, Generation, Sampling, Selection, Transformation};
        let transformation = Some(DerivingActivity::Transformation);
        for (made, stated, activity, named, parents, registered) in [
            (Collection, NONE, None, NONE, NONE, Collection),
            (Collection, &[7, 3, 7], None, &[], &[3, 7], Selection),
            (Collection, &[], None, &[5], &[5], Selection),
            (Collection, &[7], transformation, &[5, 7], &[5, 7], Transformation),
            (Collection, &[], transformation, &[5], &[5], Transformation),
            (Generation, &[], None, &[], &[], Generation),
            (Sampling, &[2], None, &[], &[2], Sampling),
            (Sampling, &[2], transformation, &[], &[2], Transformation),
        ] {
            let stated = StatedParents::new(stated, activity).unwrap();
            let named = named.iter().copied().collect();
            let making = Making::new(derivation(made), &stated, &named).unwrap();
            assert_eq!(making.parents.as_slice(), parents);
            assert_eq!(making.derivation, derivation(registered));
        }
    }

    #[test]
    fn parents_are_as_many_as_the_chain_takes() {
        let nine: Vec<_> = (0..=MAX_PARENTS).collect();
        assert_eq!(StatedParents::new(&nine, None), Err(ParentError::TooMany(9)));
        let eight = StatedParents::new(&nine[1..], None).unwrap();
        let making = |named: &[ManifestId]| {
            Making::new(derivation(Activity::Collection), &eight, &named.iter().copied().collect())
        };
        assert_eq!(making(&[1, 8]).unwrap().parents.len(), 8);
        let error = making(&[0]).unwrap_err();
        assert_eq!(error, ParentError::TooMany(9));
        assert!(error.to_string().contains("from 9 manifests, and one names at most 8"), "{error}");
        let activity = Some(DerivingActivity::Selection);
        let orphan = StatedParents::new(&[], activity).unwrap();
        let orphan = Making::new(derivation(Activity::Collection), &orphan, &BTreeSet::new());
        assert_eq!(orphan, Err(ParentError::Missing));
    }

    #[test]
    fn registered_parents_are_not_stated_anew() {
        let mut info = manifest(ManifestStatus::Proposed, false, 5).info;
        let check = |info: &ManifestInfo, ids: &[ManifestId], activity| {
            let checked = StatedParents::new(ids, activity).unwrap().check_registered(3, info);
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&info, &[], None), Ok(()));
        let error = check(&info, &[2], None).unwrap_err();
        assert!(
            error.contains("manifest 3 was registered before as collection without"),
            "{error}"
        );
        assert!(error.contains("data withdraw 3"), "{error}");
        info.parents = vec![1, 2].try_into().unwrap();
        info.derivation.activity = Activity::Selection;
        assert_eq!(check(&info, &[2], Some(DerivingActivity::Selection)), Ok(()));
        let error = check(&info, &[2], Some(DerivingActivity::Transformation)).unwrap_err();
        assert!(error.contains("as selection from [1, 2], which does not change"), "{error}");
    }

    #[test]
    fn decisions_about_parents_are_told() {
        let error = |reason, for_cause| {
            let retirement = Retirement { reason, evidence: None, for_cause };
            ParentError::Retired { id: 4, retirement }.to_string()
        };
        assert!(
            error(RetirementReason::OptOut, false).contains("manifest 4, which was retired (opt-")
        );
        assert!(error(RetirementReason::Other, true).contains("(another reason, for cause)"));
    }

    #[test]
    fn documents_in_the_shards_name_parents() {
        let folder = tempfile::tempdir().unwrap();
        let name = ManifestName::Content([7; 32]);
        let record = |raw: u8, place, signals: &[String]| DocumentRecord {
            origin: Origin { signals: signals.to_vec(), ..Origin::default() },
            raw: [raw; 32],
            piece: 0,
            extractor: Tool::default(),
            invalid: 0,
            text: [raw; 32],
            bytes: 9,
            language: None,
            quality: None,
            decisions: Vec::new(),
            cluster: None,
            survivor: None,
            survivor_manifest: None,
            reference: None,
            place,
        };
        let place = Some(Place { side: Side::Train, start: 0, tokens: 9 });
        let other = ManifestName::OnChain { genesis: [8; 32], id: 5 };
        let mut writer = DocumentWriter::create(folder.path()).unwrap();
        for record in [
            record(1, place, &["x-robots-tag: all".into(), derivation_signal(name)]),
            record(2, None, &[derivation_signal(other)]),
        ] {
            writer.add(&record).unwrap();
        }
        writer.finish().unwrap();
        // The second was dropped, so that nothing of it is in the shards.
        assert_eq!(named_in(folder.path()).unwrap(), Ok(BTreeSet::from([name])));

        let folder = tempfile::tempdir().unwrap();
        let mut writer = DocumentWriter::create(folder.path()).unwrap();
        for id in 0..=MAX_NAMES as u32 {
            let name = ManifestName::OnChain { genesis: [8; 32], id };
            let place = Some(Place { side: Side::Train, start: u64::from(id) * 9, tokens: 9 });
            writer.add(&record(1, place, &[derivation_signal(name)])).unwrap();
        }
        writer.finish().unwrap();
        let error = named_in(folder.path()).unwrap().unwrap_err();
        assert_eq!(error, ParentError::TooManyNames);
    }
}
