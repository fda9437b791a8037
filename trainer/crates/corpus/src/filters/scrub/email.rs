// SPDX-License-Identifier: Apache-2.0

//! E-mail addresses.

use std::ops::Range;

use memchr::memchr_iter;

use super::{Search, apart, before};

/// Longest part before the `@` (RFC 5321, section 4.5.3.1).
const MAX_LOCAL: usize = 64;
/// Longest domain.
const MAX_DOMAIN: usize = 255;

/// Domains for examples (RFC 2606, RFC 6761), which belong to nobody.
const RESERVED: [&str; 7] =
    ["example.com", "example.net", "example.org", "example.edu", "example", "test", "invalid"];

/// Search for e-mail addresses.
pub(in super::super) struct Emails {
    /// Domains whose addresses stay, in small letters.
    kept: Vec<String>,
}

impl Emails {
    /// Creates a search that leaves addresses of some domains, and of examples.
    pub(in super::super) fn new(kept: &[String]) -> Self {
        Self { kept: kept.iter().map(|domain| domain.to_ascii_lowercase()).collect() }
    }

    fn is_kept(&self, local: &str, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        let covers = |kept: &str| {
            domain.strip_suffix(kept).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        // `git@host:path` is the address of a repository.
        local == "git"
            || RESERVED.iter().any(|kept| covers(kept))
            || self.kept.iter().any(|kept| covers(kept))
    }
}

impl Search for Emails {
    const PLACEHOLDER: &'static str = "[EMAIL]";

    fn search(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        apart(memchr_iter(b'@', bytes).filter_map(|at| {
            let start = local_start(bytes, at)?;
            let end = domain_end(bytes, at + 1)?;
            (!self.is_kept(&text[start..at], &text[at + 1..end])).then_some(start..end)
        }))
    }
}

/// Returns the start of the part before an `@`.
fn local_start(text: &[u8], at: usize) -> Option<usize> {
    let part = &text[at.saturating_sub(MAX_LOCAL)..at];
    let is_local = |it: &&u8| it.is_ascii_alphanumeric() || b".!#$%&*+-/=?^_`|~".contains(it);
    let length = part.iter().rev().take_while(is_local).count();
    let start = at - length + text[at - length..at].iter().position(u8::is_ascii_alphanumeric)?;
    (text[at - 1] != b'.' && !before(text, start).is_some_and(|it| it.is_ascii_alphanumeric()))
        .then_some(start)
}

/// Returns the end of a domain whose last label consists of letters.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let part = &text[start..text.len().min(start + MAX_DOMAIN)];
    let is_domain = |it: &&u8| it.is_ascii_alphanumeric() || matches!(it, b'.' | b'-');
    let part = &part[..part.iter().take_while(is_domain).count()];
    let part = &part[..part.iter().rposition(u8::is_ascii_alphanumeric)? + 1];
    let top = part.rsplit(|&it| it == b'.').next()?;
    let is_top = (2..=24).contains(&top.len()) && top.iter().all(u8::is_ascii_alphabetic);
    let labels = part.split(|&it| it == b'.');
    let is_whole = labels.clone().count() > 1 && labels.clone().all(|label| !label.is_empty());
    (is_top && is_whole).then_some(start + part.len())
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    #[test]
    fn addresses_are_told_from_what_resembles_them() {
        check(
            Emails::new(&["Kernel.org".to_owned()]),
            &[
                ("Write to jane.doe+x@mail.uni-a.de.", "Write to [EMAIL]."),
                ("<a@b.co>, c@d.org", "<[EMAIL]>, [EMAIL]"),
                ("mailto:x_y@z.museum?subject=1", "mailto:[EMAIL]?subject=1"),
                ("joe@notexample.com", "[EMAIL]"),
                ("@user@mastodon.social", "@[EMAIL]"),
            ],
            &[
                "you@example.com and me@sub.EXAMPLE.org and x@host.test",
                "git@github.com:owner/name.git",
                "a@lists.kernel.org",
                "npm install left-pad@1.3.0",
                "@decorator, a @ b.com, 5 apples @ 3.50, x@y, x@y..com, @media.com",
                "user.@host.com",
            ],
        );
    }
}
