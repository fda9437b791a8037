// SPDX-License-Identifier: Apache-2.0

//! Rules of sites for crawlers: robots.txt (RFC 9309).

use crate::http::{AGENT, FetchError, HttpClient, Request, gunzip_start};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};
use texting_robots::Robot;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

/// Part of a file that is read, in bytes. RFC 9309 asks for 500 KiB at least.
const MAX_BYTES: usize = 500 << 10;
/// Time for which a file holds.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Time after which a server that failed is asked again.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(600);
/// Longest delay that is kept to. A site that asks for more is left alone.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// Most sitemaps of a site that are named in its file.
const MAX_SITEMAPS: usize = 50;
/// Number of sites whose rules are remembered.
const MAX_SITES: usize = 4096;

/// Rules of a site.
pub struct Rules {
    verdict: Verdict,
    /// Time that the site wants between two requests.
    pub delay: Duration,
    /// Sitemaps that the site names.
    pub sitemaps: Vec<Url>,
}

enum Verdict {
    All,
    Nothing(String),
    /// The site does not tell its rules for now, so nothing is allowed.
    Unknown,
    Listed(Robot),
}

impl Rules {
    /// Returns the time after which the site is asked for its rules again, if it failed to tell
    /// them.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self.verdict, Verdict::Unknown).then_some(RETRY_AFTER_FAILURE)
    }

    /// Returns the reason why `url` must not be requested, if there is one.
    pub fn refusal(&self, url: &Url) -> Option<&str> {
        match &self.verdict {
            Verdict::All => None,
            Verdict::Nothing(reason) => Some(reason),
            Verdict::Unknown => Some("robots.txt cannot be read for now"),
            Verdict::Listed(robot) => {
                (!robot.allowed(url.as_str())).then_some("robots.txt disallows it")
            }
        }
    }

    fn without_list(verdict: Verdict) -> Self {
        Self { verdict, delay: Duration::ZERO, sitemaps: Vec::new() }
    }

    fn nothing(reason: impl Into<String>) -> Self {
        Self::without_list(Verdict::Nothing(reason.into()))
    }

    /// Reads a file of the site that `url` belongs to.
    fn parse(url: &Url, file: &[u8]) -> Self {
        let Ok(robot) = Robot::new(AGENT, file) else {
            return Self::nothing("robots.txt cannot be understood");
        };
        let delay = robot.delay.map_or(Some(Duration::ZERO), |seconds| {
            Duration::try_from_secs_f32(seconds.max(0.0)).ok().filter(|delay| *delay <= MAX_DELAY)
        });
        let Some(delay) = delay else {
            return Self::nothing("robots.txt wants more than five minutes between two requests");
        };
        let sitemaps = robot.sitemaps.iter().filter_map(|sitemap| url.join(sitemap).ok());
        let sitemaps = sitemaps.take(MAX_SITEMAPS).collect();
        Self { verdict: Verdict::Listed(robot), delay, sitemaps }
    }
}

/// Rules of all sites that were asked for. Clones share them.
#[derive(Clone)]
pub struct Robots {
    client: HttpClient,
    sites: Arc<StdMutex<BTreeMap<String, Arc<Site>>>>,
}

/// Rules of a site and the time until which they hold. The lock is held while they are fetched, so
/// that this happens once.
type Site = Mutex<Option<(Arc<Rules>, Instant)>>;

impl Robots {
    /// Creates an empty set of rules that reads them through `client`.
    pub fn new(client: HttpClient) -> Self {
        Self { client, sites: Arc::default() }
    }

    /// Returns the rules of the site of `url`, which are fetched if they are not known.
    ///
    /// # Errors
    ///
    /// Fails if the client's budget is used up. Rules that cannot be had forbid everything for some
    /// time.
    pub async fn rules(&self, url: &Url) -> Result<Arc<Rules>, FetchError> {
        let site = self.site(&url.origin().ascii_serialization());
        let mut site = site.lock().await;
        if let Some((rules, end)) = site.as_ref()
            && Instant::now() < *end
        {
            return Ok(rules.clone());
        }
        let (rules, lifetime) = self.fetch(url).await?;
        let rules = Arc::new(rules);
        *site = Some((rules.clone(), Instant::now() + lifetime));
        Ok(rules)
    }

    fn site(&self, origin: &str) -> Arc<Site> {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if sites.len() >= MAX_SITES && !sites.contains_key(origin) {
            sites.clear();
        }
        sites.entry(origin.to_owned()).or_default().clone()
    }

    async fn fetch(&self, url: &Url) -> Result<(Rules, Duration), FetchError> {
        let Ok(address) = url.join("/robots.txt") else {
            return Ok((Rules::nothing("its site has no robots.txt"), LIFETIME));
        };
        let rules = match self.read(&Request::new(address).without_retries()).await {
            Ok(file) => Rules::parse(url, &file),
            Err(FetchError::Budget) => return Err(FetchError::Budget),
            // A server that fails or is busy has a file, perhaps. Without one all is allowed.
            Err(
                FetchError::Status(429 | 500..) | FetchError::Transport(_) | FetchError::TooSlow,
            ) => Rules::without_list(Verdict::Unknown),
            Err(FetchError::Status(_) | FetchError::Redirects(_)) => {
                Rules::without_list(Verdict::All)
            }
            Err(error) => Rules::nothing(format!("robots.txt: {error}")),
        };
        let lifetime = rules.retry_after().unwrap_or(LIFETIME);
        Ok((rules, lifetime))
    }

    /// Reads the first part of a file.
    async fn read(&self, request: &Request) -> Result<Vec<u8>, FetchError> {
        let mut body = self.client.open(request).await?;
        // Compressed, a file would look like one without rules.
        let is_gzip = body.is_gzip()?;
        let mut file = Vec::new();
        while file.len() < MAX_BYTES
            && let Some(chunk) = body.chunk().await?
        {
            file.extend_from_slice(&chunk);
        }
        if is_gzip {
            file = gunzip_start(&file, MAX_BYTES as u64 + 1)?;
        }
        if file.len() > MAX_BYTES {
            // A line that is cut might forbid less than it says.
            let end = file[..MAX_BYTES].iter().rposition(|&byte| byte == b'\n');
            file.truncate(end.unwrap_or(0));
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(file: &str) -> Rules {
        Rules::parse(&Url::parse("http://example.org/").unwrap(), file.as_bytes())
    }

    fn allows(rules: &Rules, path: &str) -> bool {
        let url = Url::parse("http://example.org").unwrap().join(path).unwrap();
        rules.refusal(&url).is_none()
    }

    #[test]
    fn the_group_of_our_name_wins() {
        let file = "User-agent: *\nDisallow: /\n\nUser-agent: POL-Trainer\nDisallow: /private\n\
                    Allow: /private/open\nCrawl-delay: 2.5\n\nSitemap: /map.xml\n";
        let rules = rules(file);
        assert!(allows(&rules, "/a") && allows(&rules, "/private/open/x"));
        assert!(!allows(&rules, "/private/x"));
        assert_eq!(rules.delay, Duration::from_millis(2500));
        assert_eq!(rules.sitemaps[0].as_str(), "http://example.org/map.xml");
    }

    #[test]
    fn impossible_delays_close_a_site_or_count_as_none() {
        for delay in ["301", "1e30", "inf"] {
            let rules = rules(&format!("User-agent: *\nCrawl-delay: {delay}\n"));
            assert!(!allows(&rules, "/") || rules.delay <= MAX_DELAY, "{delay}");
        }
        for delay in ["-5", "soon", "nan", ""] {
            let rules = rules(&format!("User-agent: *\nCrawl-delay: {delay}\n"));
            assert!(allows(&rules, "/"), "{delay}");
            assert_eq!(rules.delay, Duration::ZERO, "{delay}");
        }
    }

    #[test]
    fn a_file_that_is_none_allows_all() {
        for file in ["", "<html><body>Not found</body></html>", "\u{feff}", "\0\0\0"] {
            assert!(allows(&rules(file), "/a"), "{file:?}");
        }
    }

    #[test]
    fn sitemaps_are_limited() {
        let file = "Sitemap: https://example.org/a.xml\n".repeat(1000);
        assert_eq!(rules(&file).sitemaps.len(), MAX_SITEMAPS);
    }

    proptest! {
        #[test]
        fn any_file_is_read(bytes: Vec<u8>, lines in "((Dis)?allow:[ /*$%a-]{0,20}\n){0,3}") {
            let url = Url::parse("http://example.org/a/%e9?b#c").unwrap();
            for file in [bytes.as_slice(), format!("User-agent: *\n{lines}").as_bytes()] {
                let _ = Rules::parse(&url, file).refusal(&url);
            }
        }
    }
}
