// SPDX-License-Identifier: Apache-2.0

//! Bounds of a configuration's values, and combinations of them that would have no effect.

use super::{
    super::{
        super::registration::Terms,
        bounds::{Mistakes, check_file, check_path, check_range},
    },
    Config, HttpConfig, SourceConfig, Supplier,
};
use anyhow::Context;
use pol_corpus::{filters::Cleaner, pipeline::ReferenceFiles};

/// Most tokens, documents, and bytes of a budget.
const MOST: u64 = 1 << 50;
/// Longest run, in minutes: a year.
const MAX_MINUTES: u64 = 366 * 24 * 60;
/// Longest time between two requests to a host, in milliseconds: a day.
const MAX_DELAY_MS: u64 = 24 * 3_600_000;
/// Least budget of bytes of sites: that of a page.
const MIN_HTTP_BYTES: u64 = 64 << 10;

impl Config {
    /// Checks the values that sources share.
    pub(super) fn check_shared(&self, mistakes: &mut Mistakes) {
        let budget = u64::from(self.shard_tokens)..=MOST;
        let tokens = check_range("max_tokens_per_source", self.max_tokens_per_source, budget);
        mistakes.check(tokens);
        check_held_out(self.held_out, mistakes);
        check_quality(self.quality_threshold, mistakes);
        self.http.check(mistakes);
        self.check_references(mistakes);
        let mut telling = self.sources.iter().filter(|source| source.languages.is_none());
        let tells =
            |source: &SourceConfig| source.preset().is_ok_and(|preset| preset.tells_languages());
        mistakes.require(self.languages.is_empty() || telling.any(tells), || {
            "languages: no source has rules of cleaning that tell them; set clean of a source to \
             web, books, or dialogue, or leave them out"
                .into()
        });
        let is_client = |source: &SourceConfig| source.supplier().is_ok_and(Supplier::needs_client);
        if self.contact.is_some() && self.sources.iter().any(is_client) {
            mistakes.check(self.client().map(drop).map_err(Into::into));
        }
    }

    /// Checks that the files that documents are held against are there, and reads the short ones.
    fn check_references(&self, mistakes: &mut Mistakes) {
        let mut missing = Mistakes::default();
        let files = [("quality_model", &self.quality_model), ("opt_out", &self.opt_out)];
        for (field, path) in files {
            missing.check(path.as_ref().map_or(Ok(()), |path| check_file(field, path)));
        }
        if missing.is_empty() && (self.quality_model.is_some() || self.opt_out.is_some()) {
            let short = ReferenceFiles { decontaminate: Vec::new(), ..self.references() };
            missing.check(short.load().map(drop).context("quality_model or opt_out"));
        }
        mistakes.append(missing);
        self.against.iter().for_each(|path| mistakes.check(check_file("against", path)));
        let texts = self.decontaminate.iter();
        texts.for_each(|path| mistakes.check(check_path("decontaminate", path)));
        let fields_only = self.decontaminate.is_empty() && !self.decontaminate_fields.is_empty();
        mistakes.require(!fields_only, || {
            "decontaminate_fields: they name the fields of the files in decontaminate, which names \
             none; leave them out"
                .into()
        });
    }
}

impl HttpConfig {
    fn check(&self, mistakes: &mut Mistakes) {
        let delay = check_range("http.host_delay_ms", Some(self.host_delay_ms), 0..=MAX_DELAY_MS);
        mistakes.check(delay);
        mistakes.check(check_range("http.max_bytes", self.max_bytes, MIN_HTTP_BYTES..=MOST));
        for host in &self.allowed_hosts {
            let is_host =
                url::Host::parse(host).is_ok() || host.parse::<std::net::IpAddr>().is_ok();
            mistakes.require(is_host, || {
                format!(
                    "http.allowed_hosts: {host:?} is no host; write one such as mirror.internal or \
                     127.0.0.1, without scheme and port"
                )
            });
        }
    }
}

impl SourceConfig {
    /// Checks the values of a source that do not depend on its supplier.
    pub(super) fn check_values(&self, config: &Config, mistakes: &mut Mistakes) {
        let tokens = u64::from(config.shard_tokens)..=MOST;
        mistakes.check(check_range("max_tokens", self.max_tokens, tokens));
        mistakes.check(check_range("max_documents", self.max_documents, 1..=MOST));
        mistakes.check(check_range("max_minutes", self.max_minutes, 1..=MAX_MINUTES));
        self.held_out.into_iter().for_each(|share| check_held_out(share, mistakes));
        self.quality_threshold.into_iter().for_each(|quality| check_quality(quality, mistakes));
        for (field, text) in [("address", &self.address), ("licence", &self.licence)] {
            let is_empty = text.as_ref().is_some_and(|text| text.trim().is_empty());
            mistakes.require(!is_empty, || format!("{field}: it is empty; leave it out"));
        }
    }

    /// Checks the values of a source that its supplier has to fit.
    pub(super) fn check_supplied(
        &self,
        config: &Config,
        supplier: Supplier<'_>,
        mistakes: &mut Mistakes,
    ) {
        // It stands in the record of each document, also where the chain has another one.
        if let Some(licence) = supplier.licence() {
            let terms = Terms::new("", &licence).map(drop);
            mistakes.check(terms.context("licence of the supplier"));
        }
        mistakes.require(self.text_fields.is_empty() || supplier.has_tables(), || {
            "text_fields: this supplier hands on texts, not tables; leave them out (a hub has \
             hub.columns)"
                .into()
        });
        let tells = self.preset().is_ok_and(|preset| preset.tells_languages());
        mistakes.require(self.languages.is_none() || tells, || {
            "languages: the rules of cleaning of this source tell none; set clean to web, books, \
             or dialogue"
                .into()
        });
        let is_whole = matches!(supplier, Supplier::Files(_));
        let is_bounded = self.max_documents.is_some() || self.max_minutes.is_some();
        mistakes.require(!(is_whole && is_bounded), || {
            "max_documents and max_minutes: files are read as a whole; name fewer of them".into()
        });
        mistakes.require(!supplier.needs_client() || config.contact.is_some(), || {
            "contact: sites must be able to reach who reads them; give the address of a page or \
             mailbox"
                .into()
        });
        mistakes.check(self.terms().map(drop));
        let rules = self.cleaning(config).and_then(|rules| Ok(Cleaner::new(&rules)?));
        mistakes.check(rules.map(drop));
    }
}

fn check_held_out(share: f64, mistakes: &mut Mistakes) {
    mistakes.require((0.0..=0.5).contains(&share), || {
        format!("held_out: {share} is no share of the text from 0 to 0.5")
    });
}

fn check_quality(quality: f64, mistakes: &mut Mistakes) {
    mistakes.require((0.0..=1.0).contains(&quality), || {
        format!("quality_threshold: {quality} is no quality from 0 to 1")
    });
}
