// SPDX-License-Identifier: Apache-2.0

//! Answers of web sites, services, and hubs, in the order in which they are asked for.

use crate::{
    Target,
    answers::{Answers, write},
    formats::parquet_table,
};
use http::{Response, StatusCode, header::CONTENT_RANGE};
use indicatif::ProgressBar;
use pol_sources::{
    Batch, Source, Step,
    connectors::{
        Arxiv, Endpoint, GithubReadmes, HackerNews, Mastodon, PubmedCentral, Service,
        StackExchange, Then,
    },
    crawl::{Crawl, CrawlOptions, Visit, Visitor},
    feeds::{FeedOptions, Feeds},
    files::{FileList, FilePlace, FileSource, ListedFile, Members},
    http::{HttpClient, HttpOptions, Stated, Validators},
    hub::{DatasetSpec, Hub, HubSource, Transfer},
    robots::Robots,
};
use serde_json::{Value, json};
use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};
use url::Url;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "robots", run: robots, seeds: robots_seeds },
    Target { name: "sitemap", run: sitemap, seeds: sitemap_seeds },
    Target { name: "page", run: page, seeds: page_seeds },
    Target { name: "crawl", run: crawl, seeds: crawl_seeds },
    Target { name: "feed", run: feed, seeds: feed_seeds },
    Target { name: "arxiv", run: |b| service(b, Arxiv::new(endpoint(), "x")), seeds: arxiv_seeds },
    Target { name: "pubmed", run: pubmed, seeds: pubmed_seeds },
    Target { name: "hacker_news", run: hacker_news, seeds: hacker_news_seeds },
    Target { name: "stack_exchange", run: stack_exchange, seeds: stack_exchange_seeds },
    Target { name: "mastodon", run: mastodon, seeds: mastodon_seeds },
    Target { name: "github", run: github, seeds: github_seeds },
    Target { name: "hub", run: hub, seeds: hub_seeds },
    Target { name: "hub_columns", run: hub_columns, seeds: hub_columns_seeds },
    Target { name: "files", run: files, seeds: || vec![b"200\n\n{\"text\": \"One.\"}\n".into()] },
    Target { name: "cursor", run: cursor, seeds: cursor_seeds },
];

/// Time after which a source that keeps a pace is left. The fuzzer has better things to do, and
/// tests must not depend on how fast a machine is.
const PATIENCE: Duration =
    Duration::from_millis(if cfg!(feature = "libfuzzer") { 20 } else { 2000 });
/// Most pages or steps that are asked of a source.
const MAX_STEPS: usize = 6;

fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime =
            Builder::new_current_thread().enable_time().build().expect("there is a clock");
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Returns a client that reads `bytes` as its answers and keeps no pace of its own.
fn client(bytes: &[u8]) -> HttpClient {
    let mut options = HttpOptions::new("https://example.org/fuzz");
    (options.host_delay, options.max_retries) = (Duration::ZERO, 0);
    let answers = Answers::read(bytes);
    HttpClient::answered_by(options, Arc::new(move |_| answers.next().into()))
}

fn site() -> Url {
    Url::parse("http://example.org/").expect("an address")
}

fn endpoint() -> Endpoint {
    Endpoint::new("http://example.org", Duration::ZERO)
}

/// Reads bytes as robots.txt. Delays and sitemaps are bounded.
fn robots(bytes: &[u8]) -> bool {
    let rules = block_on(Robots::new(client(bytes)).rules(&site())).expect("there is no budget");
    assert!(rules.delay <= Duration::from_secs(300) && rules.sitemaps.len() <= 50);
    for path in ["/", "/a/%e9?b#c", "/private/x", "/robots.txt"] {
        let _ = rules.refusal(&site().join(path).expect("an address"));
    }
    rules.retry_after().is_none()
}

fn robots_seeds() -> Vec<Vec<u8>> {
    let rules =
        b"User-agent: *\nDisallow: /\n\nUser-agent: pol-trainer\nDisallow: /private\nAllow: \
        /private/open$\nCrawl-delay: 2.5\n\nSitemap: /map.xml\n";
    vec![rules.into(), b"404\n\n".into(), b"302\nLocation: /other\n\n\n====\nAllow: *".into()]
}

/// Asks a source for steps until it has nothing new. Documents and refusals name the source. One
/// that continues at the cursor has one from which a third starts alike.
fn steps<S: Source>(make: impl Fn() -> S) -> bool {
    let mut source = make();
    let mut has_documents = false;
    for _ in 0..MAX_STEPS {
        let step = block_on(async { tokio::time::timeout(PATIENCE, source.next()).await });
        let Ok(Ok(Step::Batch(batch))) = step else { break };
        check_batch(&batch, source.name());
        has_documents |= !batch.documents.is_empty();
    }
    let resumed = |cursor| {
        let mut source = make();
        assert_eq!(source.resume(cursor), Ok(()));
        source.cursor()
    };
    let cursor = resumed(source.cursor());
    assert_eq!(resumed(cursor.clone()), cursor);
    has_documents
}

fn check_batch(batch: &Batch, source: &str) {
    for document in &batch.documents {
        assert_eq!(document.origin.source, source);
        let is_utf_8 = document.media.as_ref().is_some_and(|media| media.contains("utf-8"));
        assert!(!is_utf_8 || source == "web" || std::str::from_utf8(&document.bytes).is_ok());
    }
    assert!(batch.refused.iter().all(|refusal| refusal.origin.source == source));
}

fn crawl_of(bytes: &[u8], options: CrawlOptions) -> Crawl {
    block_on(async { Crawl::new(Visitor::new(client(bytes)), options).expect("it has a start") })
}

fn crawl(bytes: &[u8]) -> bool {
    steps(|| crawl_of(bytes, CrawlOptions::new("web", vec![site()])))
}

fn crawl_seeds() -> Vec<Vec<u8>> {
    let page = b"200\nContent-Type: text/html\n\n<a href=/a>a</a><link rel=canonical href=/c>";
    vec![
        write(&[b"404\n\n", page, b"200\nContent-Type: text/plain\nETag: \"x\"\n\nText."]),
        write(&[
            b"User-agent: *\nSitemap: /map.xml",
            page,
            b"<url><loc>http://example.org/b</loc>",
        ]),
        write(&[b"404\n\n", b"301\nLocation: /b\n\n", page]),
    ]
}

/// Reads bytes as a sitemap, and visits what it lists.
fn sitemap(bytes: &[u8]) -> bool {
    let answers = [&b"404\n\n\n====\n200\n\n"[..], bytes, b"\n====\nA page."].concat();
    let sitemaps = vec![site().join("map.xml").expect("an address")];
    steps(|| {
        let options = CrawlOptions::new("web", Vec::new());
        crawl_of(&answers, CrawlOptions { sitemaps: sitemaps.clone(), ..options })
    })
}

fn sitemap_seeds() -> Vec<Vec<u8>> {
    vec![
        b"<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url>\
          <loc> http://example.org/1?x=1&amp;y=2 </loc><lastmod>2024-01-01</lastmod></url><url>\
          <loc><![CDATA[http://example.org/2]]></loc></url></urlset>"
            .into(),
        b"\xef\xbb\xbfhttp://example.org/1\r\nhttp://example.org/2\n".into(),
    ]
}

/// Reads bytes as a page, with its headers. Its links are in number and form as the crawler needs.
fn page(bytes: &[u8]) -> bool {
    let answers = [&b"404\n\n\n====\n"[..], bytes].concat();
    let visitor = Visitor::new(client(&answers));
    let visit = block_on(visitor.visit("web", &site(), Validators::default()));
    let Visit::Page(page) = visit else { return false };
    assert!(page.links.len() <= 10_000);
    for link in page.links.iter().chain(&page.canonical) {
        assert!(matches!(link.scheme(), "http" | "https") && link.fragment().is_none());
    }
    page.document.is_ok()
}

fn page_seeds() -> Vec<Vec<u8>> {
    let page = "200\nContent-Type: text/html; charset=utf-8\nX-Robots-Tag: all\nETag: \"x\"\n\n\
        <base href=/d/><a href=a#b>1</a><A HREF=\"/b?x=1&amp;y=2\" rel=\"nofollow\">2</a>\
        <link rel=license href='https://creativecommons.org/licenses/by/4.0/'>\
        <link rel=canonical href=/c><meta name=robots content='all'><title></title>";
    vec![page.into(), b"A text.".into()]
}

fn feed(bytes: &[u8]) -> bool {
    let answers = [&b"404\n\n\n====\n"[..], bytes].concat();
    steps(|| {
        let options = FeedOptions::new("feed", vec![site()]);
        Feeds::new(Visitor::new(client(&answers)), options).expect("it has a feed")
    })
}

fn feed_seeds() -> Vec<Vec<u8>> {
    let text = "A long text of an entry. ".repeat(70);
    let rss = format!(
        "<rss version='2.0'><channel><title>t</title><ttl>60</ttl><item><guid \
         isPermaLink='false'>1</guid><description>{text}</description></item><item>\
         <link>http://example.org/a</link><title>title</title></item></channel></rss>"
    );
    let atom = "<feed xmlns='http://www.w3.org/2005/Atom'><title>t</title><id>f</id><updated>\
        2024-01-01T00:00:00Z</updated><rights>CC</rights><entry><id>1</id><title>T</title>\
        <updated>2024-01-01T00:00:00Z</updated><content type='html'>&lt;p&gt;x</content></entry>\
        </feed>";
    let json = json!({"version": "https://jsonfeed.org/version/1.1", "title": "t", "items": [
        {"id": "1", "content_text": "Text.", "title": "T"},
    ]});
    vec![rss.into(), atom.into(), json.to_string().into()]
}

/// Asks a service for pages. Places are written and read as themselves.
fn service<S: Service>(bytes: &[u8], mut service: S) -> bool {
    let (client, mut place, mut is_page) = (client(bytes), S::Place::default(), false);
    for _ in 0..MAX_STEPS {
        let Ok(page) = block_on(service.page(&client, &place)) else { break };
        check_batch(&page.batch, service.name());
        let written = serde_json::to_value(&page.place).expect("a place is JSON");
        let read: S::Place = serde_json::from_value(written.clone()).expect("it was written");
        assert_eq!(serde_json::to_value(&read).ok(), Some(written));
        (place, is_page) = (page.place, true);
        if page.then == Then::End {
            break;
        }
    }
    is_page
}

fn arxiv_seeds() -> Vec<Vec<u8>> {
    let feed = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
        <feed xmlns=\"http://www.w3.org/2005/Atom\"><id>http://arxiv.org/api/x</id>\
        <title>ArXiv Query</title><updated>2024-01-01T00:00:00Z</updated>\
        <opensearch:totalResults xmlns:opensearch=\"http://a9.com/-/spec/opensearch/1.1/\">1\
        </opensearch:totalResults><entry><id>http://arxiv.org/abs/2401.00001v1</id>\
        <published>2024-01-01T00:00:00Z</published><updated>2024-01-01T00:00:00Z</updated>\
        <title>Paper\n  1</title><summary>  An abstract\nof 1 &lt; 1000.\n</summary>\
        <author><name>A. Author</name></author><category term=\"cs.CL\"/></entry></feed>";
    vec![feed.into(), feed.replace("arxiv.org/abs", "arxiv.org/api").into()]
}

fn pubmed(bytes: &[u8]) -> bool {
    service(bytes, PubmedCentral::new(endpoint(), None))
}

fn pubmed_seeds() -> Vec<Vec<u8>> {
    let records = "<OAI-PMH xmlns=\"http://www.openarchives.org/OAI/2.0/\"><ListRecords>\
        <record><header><identifier>oai:pubmedcentral.nih.gov:1</identifier>\
        <datestamp>2024-05-01</datestamp></header><metadata><article xmlns:xlink=\"x\"><front>\
        <article-meta><title-group><article-title>On <italic>E. coli</italic></article-title>\
        </title-group><permissions><license \
        xlink:href=\"http://creativecommons.org/licenses/by/4.0/\"/></permissions>\
        <abstract><p>Short &amp; clear&#x2014;here.</p></abstract></article-meta></front>\
        <body><sec><title>Methods</title><p>We <inline-formula>x</inline-formula> it.</p></sec>\
        </body></article></metadata></record><record><header status=\"deleted\"><identifier>2\
        </identifier></header></record><resumptionToken>t</resumptionToken></ListRecords>\
        </OAI-PMH>";
    let end = b"<OAI-PMH><error code=\"noRecordsMatch\">None</error></OAI-PMH>";
    vec![write(&[records.as_bytes(), end])]
}

fn hacker_news(bytes: &[u8]) -> bool {
    service(bytes, HackerNews::new(endpoint(), 1))
}

fn hacker_news_seeds() -> Vec<Vec<u8>> {
    let story = json!({"id": 1, "type": "story", "title": "Why?", "text": "First.<p>It&#x27;s."});
    let deleted = json!({"id": 2, "type": "comment", "deleted": true});
    vec![write(&[b"3", story.to_string().as_bytes(), deleted.to_string().as_bytes(), b"null"])]
}

fn stack_exchange(bytes: &[u8]) -> bool {
    service(bytes, StackExchange::new(endpoint(), "stackoverflow", None))
}

fn stack_exchange_seeds() -> Vec<Vec<u8>> {
    let post = json!({"post_id": 1, "post_type": "question", "creation_date": 1_600_000_000,
        "content_license": "CC BY-SA 4.0", "title": "T", "body": "<p>Body <code>x</code></p>",
        "link": "https://stackoverflow.com/q/1"});
    let more = json!({"items": [post], "has_more": true, "backoff": 1, "quota_remaining": 9});
    let last = json!({"items": [post], "has_more": false});
    vec![write(&[more.to_string().as_bytes(), last.to_string().as_bytes()])]
}

fn mastodon(bytes: &[u8]) -> bool {
    service(bytes, Mastodon::new(endpoint(), Some("0".into())))
}

fn mastodon_seeds() -> Vec<Vec<u8>> {
    let status = json!([{"id": "7", "content": "<p>Hello <a href=\"#\">you</a></p>",
        "spoiler_text": "CW", "visibility": "public", "url": "https://m.test/7", "reblog": null,
        "uri": "https://m.test/u/7",
        "account": {"bot": false, "note": "", "indexable": true, "noindex": false}}]);
    vec![write(&[status.to_string().as_bytes(), b"[]"])]
}

fn github(bytes: &[u8]) -> bool {
    service(bytes, GithubReadmes::new(endpoint(), "stars:>1"))
}

fn github_seeds() -> Vec<Vec<u8>> {
    let found = json!({"total_count": 2, "items": [
        {"full_name": "a/b", "private": false, "fork": false, "license": {"spdx_id": "MIT"}},
        {"full_name": "c/d", "private": false, "fork": true, "license": null},
    ]});
    vec![write(&[found.to_string().as_bytes(), b"# Readme\n", b"{\"items\": []}"])]
}

/// Reads bytes as the answers of a hub: the commit, the listing of its files, and the files.
fn hub(bytes: &[u8]) -> bool {
    read_hub(bytes, Transfer::Whole)
}

/// Reads bytes as the same answers, with a file in Parquet that is read where it is.
fn hub_columns(bytes: &[u8]) -> bool {
    read_hub(bytes, Transfer::Columns)
}

fn read_hub(bytes: &[u8], transfer: Transfer) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    steps(|| {
        let (answers, file) = (Answers::read(bytes), OnceLock::new());
        let hub = Hub::new("http://example.org", folder.path().to_owned(), None).answered_by(
            Arc::new(move |_: &str, range: Option<&str>| {
                let mut answer = match range.and_then(ends) {
                    Some(ends) => part(file.get_or_init(|| answers.next().into_body()), ends),
                    None => answers.next(),
                };
                // A busy hub would be asked again, after a time.
                if answer.status() == 429 || answer.status().is_server_error() {
                    *answer.status_mut() = StatusCode::NOT_FOUND;
                }
                answer.into()
            }),
        );
        let spec = DatasetSpec::new("org/set");
        HubSource::new(hub, spec, transfer, ProgressBar::hidden()).expect("a data set")
    })
}

/// Returns the first and the last position of a range, if it names both.
fn ends(range: &str) -> Option<(usize, usize)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Answers with a range of a file, as a server does that has the file.
fn part(file: &[u8], (first, last): (usize, usize)) -> Response<Vec<u8>> {
    let answer = Response::builder();
    let answer = match file.get(first..=last) {
        Some(part) => answer
            .status(StatusCode::PARTIAL_CONTENT)
            .header(CONTENT_RANGE, format!("bytes {first}-{last}/{}", file.len()))
            .body(part.to_vec()),
        None => answer.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Vec::new()),
    };
    answer.expect("the status and the header are valid")
}

/// Returns the description of a commit whose card names files.
fn commit(files: Value) -> Value {
    json!({"_id": "0", "id": "org/set", "sha": "0123456789abcdef0123456789abcdef01234567",
        "gated": false, "disabled": false, "cardData": {"configs": [{"config_name": "main",
        "default": true, "data_files": files}]}})
}

fn hub_seeds() -> Vec<Vec<u8>> {
    let lines = b"{\"text\": \"One.\"}\n{\"text\": \"Two.\"}\n";
    let tree = json!([{"type": "file", "path": "a.jsonl", "size": lines.len()}]).to_string();
    let one = commit(json!("*.jsonl")).to_string();
    let several = commit(json!([{"split": "train", "path": ["a.*"]}])).to_string();
    [one, several].map(|commit| write(&[commit.as_bytes(), tree.as_bytes(), lines])).into()
}

fn hub_columns_seeds() -> Vec<Vec<u8>> {
    let table = parquet_table();
    let commit = commit(json!("*.parquet")).to_string();
    let tree = json!([{"type": "file", "path": "a.parquet", "size": table.len()}]).to_string();
    vec![write(&[commit.as_bytes(), tree.as_bytes(), &table])]
}

/// Reads bytes as the answers of a server that a listed file is on.
fn files(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let address = site().join("a.jsonl").expect("an address");
    let file = ListedFile {
        location: address.to_string(),
        place: FilePlace::Web(address),
        media: None,
        stated: Stated { bytes: None, sha256: None, max_bytes: 1 << 20 },
        members: Members::default(),
    };
    let list = FileList { source: "files".into(), files: vec![file], ..FileList::default() };
    steps(|| {
        let (client, folder) = (Some(client(bytes)), folder.path().to_owned());
        FileSource::new(list.clone(), client, folder, ProgressBar::hidden())
    })
}

/// Reads bytes as the cursor of each source, as a damaged store may have it, and goes on from it.
fn cursor(bytes: &[u8]) -> bool {
    let Ok(cursor) = serde_json::from_slice::<Value>(bytes) else { return false };
    let mut sources: [Box<dyn Source>; 2] = [
        Box::new(crawl_of(b"404\n\n", CrawlOptions::new("web", vec![site()]))),
        Box::new(
            Feeds::new(Visitor::new(client(b"")), FeedOptions::new("feed", vec![site()]))
                .expect("it has a feed"),
        ),
    ];
    let mut is_cursor = false;
    for source in &mut sources {
        if source.resume(cursor.clone()).is_err() {
            continue;
        }
        is_cursor = true;
        for _ in 0..2 {
            let _ = block_on(async { tokio::time::timeout(PATIENCE, source.next()).await });
        }
        let _ = source.cursor();
    }
    is_cursor
}

fn cursor_seeds() -> Vec<Vec<u8>> {
    let crawl = crawl_of(b"404\n\n", CrawlOptions::new("web", vec![site()]));
    let feed = json!({"feeds": {"http://example.org/": {"etag": "x", "interval": 300, "due": 0,
        "seen": [1, 2]}}, "pages": ["http://example.org/a"]});
    [crawl.cursor(), feed].map(|cursor| cursor.to_string().into()).into()
}
