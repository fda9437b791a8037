// SPDX-License-Identifier: Apache-2.0

//! Crawls of well-behaved sites.

use super::server::{
    Reply, SECOND, Server, client, html, in_ten_years, missing, options, redirect, response, run,
    run_with, wait_for_batch,
};
use pol_corpus::{RawStore, filters::OptOutList};
use pol_sources::{
    Budget, End, FillOptions, Source, Step, Totals,
    crawl::{Crawl, CrawlOptions, Scope, Visitor},
    fill,
    http::{HttpClient, HttpOptions},
    signals::Obeyed,
};
use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Returns a crawl that starts at the root of a server.
pub(crate) fn crawl(server: &Server) -> Crawl {
    Crawl::new(Visitor::new(client()), crawl_options(server)).unwrap()
}

pub(crate) fn crawl_options(server: &Server) -> CrawlOptions {
    CrawlOptions::new("web", vec![server.root.clone()])
}

/// Returns the pages of a small site.
fn site(path: &str) -> Reply {
    match path {
        "/robots.txt" => response(
            "200 OK",
            "",
            "User-agent: *\nDisallow: /private\nSitemap: /sitemap.xml\nSitemap: /index.xml\n",
        ),
        "/sitemap.xml" => response(
            "200 OK",
            "Content-Type: application/xml\r\n",
            "<urlset><url><loc>http://other.test/</loc></url></urlset>",
        ),
        "/index.xml" => response("200 OK", "", "no sitemap at all"),
        "/" => html(
            "<a href='/a?utm_source=x#top'>a</a> <a href='/a'>a</a> <a href='/b/'>b</a> <a \
             href='/private/x'>p</a> <a href='http://other.test/'>o</a> <a href='/old'>old</a> <a \
             href='/gone'>g</a> <a href='/picture.png'>p</a>",
        ),
        "/a" => response(
            "200 OK",
            "Content-Type: text/html\r\n\
             Link: <https://creativecommons.org/licenses/by-nc/4.0/>; rel=license\r\n",
            "<link rel=license href='https://creativecommons.org/licenses/by-sa/4.0/'><meta \
             name=robots content='noarchive, max-snippet:5'><a href='/'>back</a>",
        ),
        "/b/" => html("<a href='c'>c</a><a href='print'>print</a>"),
        "/b/c" => html("<link rel=canonical href='/b/c'><p>text</p>"),
        "/b/print" => html("<link rel=canonical href='/b/c'><p>text</p>"),
        "/old" => redirect("/new"),
        "/new" => response(
            "200 OK",
            "Content-Type: text/plain\r\nLink: </>; rel=\"up\", \
             <https://creativecommons.org/publicdomain/zero/1.0/>; rel=\"license\"\r\n",
            "plain text",
        ),
        "/picture.png" => response("200 OK", "Content-Type: image/png\r\n", "png"),
        _ => missing(),
    }
}

#[tokio::test]
async fn a_site_is_read_once_by_its_rules() {
    let server = Server::start(|got, _| site(&got.path)).await;
    let filled = run(&mut crawl(&server)).await;
    assert_eq!(filled.end, End::Done);
    let paths: Vec<_> = filled
        .documents
        .iter()
        .map(|document| {
            document.origin.location.strip_prefix(server.root.as_str()).unwrap().to_owned()
        })
        .collect();
    let mut sorted = paths.clone();
    sorted.sort();
    assert_eq!(sorted, ["", "a", "b/", "b/c", "new"]);
    assert_eq!(
        server.pages(),
        [
            "/",
            "/a",
            "/b/",
            "/b/c",
            "/b/print",
            "/gone",
            "/index.xml",
            "/new",
            "/old",
            "/picture.png",
            "/sitemap.xml"
        ]
    );
    assert!(filled.reason("/private/x").contains("robots.txt"));
    assert!(filled.reason("/gone").contains("404"));
    assert!(filled.reason("/picture.png").contains("image/png"));
    assert!(filled.reason("/b/print").contains("copy of"));
    assert!(filled.reason("/index.xml").contains("no sitemap"));
    let a = &filled.document("/a").origin;
    assert_eq!(a.licence.as_deref(), Some("CC-BY-SA-4.0"));
    assert!(a.signals.contains(&"robots: noarchive".to_owned()), "{:?}", a.signals);
    assert!(a.source == "web" && a.fetched.is_some());
    let new = &filled.document("/new").origin;
    assert_eq!(new.licence.as_deref(), Some("CC0-1.0"));
    assert_eq!(new.signals, ["license: https://creativecommons.org/publicdomain/zero/1.0/"]);
    assert_eq!(filled.totals.documents, 5);
}

#[tokio::test]
async fn sitemaps_lead_to_pages_without_links() {
    let server = Server::start(|got, base| match got.path.as_str() {
        "/robots.txt" => response("200 OK", "", format!("Sitemap: {base}index.xml\n")),
        "/index.xml" => response(
            "200 OK",
            "",
            format!("<sitemapindex><sitemap><loc>{base}pages.xml</loc></sitemap></sitemapindex>"),
        ),
        "/pages.xml" => response(
            "200 OK",
            "",
            format!(
                "<urlset><url><loc>{base}hidden</loc></url><url><loc>http://other.test/</loc>\
                 </url></urlset>"
            ),
        ),
        "/" | "/hidden" => html("text"),
        _ => missing(),
    })
    .await;
    let filled = run(&mut crawl(&server)).await;
    assert_eq!(filled.documents.len(), 2);
    assert!(filled.refused.is_empty(), "{:?}", filled.refused);
}

#[tokio::test]
async fn pages_that_object_are_left_out_unless_told_otherwise() {
    let reply = |path: &str| match path {
        "/robots.txt" => missing(),
        "/" => html("<a href=/noindex>1</a><a href=/noai>2</a><a href=/tdm>3</a><a href=/no>4</a>"),
        "/noindex" => html("<meta name='robots' content='noindex'><a href=/linked>l</a>"),
        "/noai" => response("200 OK", "Content-Type: text/html\r\nX-Robots-Tag: noai\r\n", "x"),
        "/tdm" => response("200 OK", "Content-Type: text/html\r\nTDM-Reservation: 1\r\n", "x"),
        "/no" => html("<meta name='robots' content='nofollow'><a href=/hidden>h</a>"),
        _ => html("text"),
    };
    let server = Server::start(move |got, _| reply(&got.path)).await;
    let filled = run(&mut crawl(&server)).await;
    assert_eq!(filled.documents.len(), 3);
    assert_eq!(filled.reason("/noindex"), "robots: noindex");
    assert_eq!(filled.reason("/noai"), "x-robots-tag: noai");
    assert_eq!(filled.reason("/tdm"), "tdm-reservation: 1");
    assert!(server.pages().contains(&"/linked".to_owned()));
    assert!(!server.pages().contains(&"/hidden".to_owned()));

    let server = Server::start(move |got, _| reply(&got.path)).await;
    let obeyed = Obeyed { noindex: false, noai: false, nofollow: false, tdm_reservation: false };
    let visitor = Visitor { obeyed, ..Visitor::new(client()) };
    let filled = run(&mut Crawl::new(visitor, crawl_options(&server)).unwrap()).await;
    assert_eq!(filled.documents.len(), 7);
    assert_eq!(filled.document("/noai").origin.signals, ["x-robots-tag: noai"]);
}

/// Returns a list of opt-outs with one entry.
fn opted_out(entry: &str) -> Arc<OptOutList> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), entry).unwrap();
    Arc::new(OptOutList::open(file.path()).unwrap())
}

#[tokio::test]
async fn sites_and_pages_of_owners_who_opted_out_are_not_asked() {
    let reply = |path: &str| match path {
        "/robots.txt" => missing(),
        "/" => html("<a href=/private/a>a</a><a href=/moved>m</a><a href=/open>o</a>"),
        "/moved" => redirect("/private/b"),
        _ => html("text"),
    };
    let server = Server::start(move |got, _| reply(&got.path)).await;
    let opt_out = opted_out(&format!("url {}", server.url("/private/")));
    let visitor = Visitor { opt_out, ..Visitor::new(client()) };
    let filled = run(&mut Crawl::new(visitor, crawl_options(&server)).unwrap()).await;
    assert_eq!(server.pages(), ["/", "/moved", "/open"]);
    for path in ["/private/a", "/private/b"] {
        assert_eq!(filled.reason(path), "its owner opted out");
    }

    let server = Server::start(move |got, _| reply(&got.path)).await;
    let visitor = Visitor { opt_out: opted_out("host 127.0.0.1"), ..Visitor::new(client()) };
    let filled = run(&mut Crawl::new(visitor, crawl_options(&server)).unwrap()).await;
    assert_eq!((server.paths().len(), filled.refused.len(), filled.end), (0, 1, End::Done));
}

#[tokio::test]
async fn robots_txt_of_a_failing_server_forbids_all() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"]
    {
        let server = Server::start(move |got, _| match got.path.as_str() {
            "/robots.txt" => response(status, "", ""),
            _ => html("text"),
        })
        .await;
        let filled = run(&mut crawl(&server)).await;
        assert_eq!(server.paths(), ["/robots.txt"], "{status}");
        assert_eq!(filled.end, End::Idle);
        assert_eq!(filled.totals, Totals { refused: 1, ..Totals::default() });
        assert!(filled.refused[0].reason.contains("its server is away or busy"), "{status}");
    }
    for status in ["404 Not Found", "403 Forbidden"] {
        let server = Server::start(move |got, _| match got.path.as_str() {
            "/robots.txt" => response(status, "", ""),
            _ => html("text"),
        })
        .await;
        assert_eq!(run(&mut crawl(&server)).await.documents.len(), 1, "{status}");
    }
}

#[tokio::test]
async fn crawl_delays_are_kept() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => response("200 OK", "", "User-agent: *\nCrawl-delay: 0.4\n"),
        "/" => html("<a href=/a>a</a><a href=/b>b</a>"),
        _ => html("text"),
    })
    .await;
    let start = Instant::now();
    assert_eq!(run(&mut crawl(&server)).await.documents.len(), 3);
    assert!(start.elapsed() >= Duration::from_millis(800));
}

#[tokio::test]
async fn a_stopped_crawl_goes_on_and_reads_no_page_twice() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html((0..20).map(|n| format!("<a href='/{n}'>{n}</a>")).collect::<String>()),
        path => html(format!("text of {path}")),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    for stop in [1, 7, 8, 15, 100] {
        let mut store = RawStore::create_or_open(folder.path()).unwrap();
        let options = FillOptions {
            budget: Budget { documents: Some(stop), ..Budget::default() },
            commit_interval: Duration::ZERO,
            watch: false,
        };
        let (end, totals) =
            fill(&mut crawl(&server), &mut store, &options, &(), pending()).await.unwrap();
        assert_eq!(totals.documents, stop.min(21));
        assert_eq!(end, if stop == 100 { End::Done } else { End::Budget });
    }
    let store = RawStore::create_or_open(folder.path()).unwrap();
    assert_eq!(store.documents().count(), 21);
    let mut once = server.pages();
    once.dedup();
    assert_eq!(once, server.pages());
}

#[tokio::test]
async fn a_killed_crawl_repeats_only_what_was_under_way() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html("<a href=/slow>s</a>"),
        _ => Reply::Drip(b"HTTP/1.1 200 OK\r\n".to_vec(), Duration::from_millis(50)),
    })
    .await;
    let mut first = crawl(&server);
    assert!(
        matches!(first.next().await.unwrap(), Step::Batch(batch) if batch.documents.len() == 1)
    );
    let next = tokio::time::timeout(Duration::from_millis(200), first.next()).await;
    assert!(next.is_err());
    let mut second = crawl(&server);
    second.resume(first.cursor()).unwrap();
    drop(first);
    let filled = run(&mut second).await;
    assert_eq!(filled.totals.refused, 1);
    assert_eq!(server.pages(), ["/", "/slow", "/slow"]);
    assert!(second.resume(serde_json::json!({ "frontier": 1 })).is_err());
}

#[tokio::test]
async fn known_pages_are_asked_for_changes() {
    let version = std::sync::Arc::new(AtomicU32::new(1));
    let shown = version.clone();
    let server = Server::start(move |got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => {
            let version = shown.load(Ordering::Relaxed);
            if got.has("if-none-match", &format!("\"{version}\"")) {
                return response("304 Not Modified", "", "");
            }
            let headers = format!("Content-Type: text/html\r\nETag: \"{version}\"\r\n");
            response("200 OK", &headers, format!("<a href=/a>version {version}</a>"))
        }
        _ if got.lines.contains("if-none-match") => response("304 Not Modified", "", ""),
        _ => response("200 OK", "ETag: \"x\"\r\n", "text"),
    })
    .await;
    let revisit = Some(Duration::from_secs(1));
    let options = CrawlOptions { revisit, ..crawl_options(&server) };
    let watch = |time| FillOptions {
        budget: Budget { time: Some(Duration::from_millis(time)), ..Budget::default() },
        watch: true,
        ..FillOptions::default()
    };
    let mut crawl = Crawl::new(Visitor::new(client()), options).unwrap();
    let first = run_with(&mut crawl, &FillOptions::default()).await;
    assert_eq!((first.end, first.documents.len()), (End::Idle, 2));
    let unchanged = run_with(&mut crawl, &watch(1500)).await;
    assert_eq!(unchanged.documents.len(), 0);
    version.store(2, Ordering::Relaxed);
    let changed = run_with(&mut crawl, &watch(2500)).await;
    assert_eq!(changed.documents.len(), 1);
    assert!(changed.documents[0].bytes.ends_with(b"version 2</a>"));
}

#[tokio::test]
async fn a_clock_that_jumps_delays_a_round_by_an_interval_at_most() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        _ => html("text"),
    })
    .await;
    let options = || CrawlOptions { revisit: Some(2 * SECOND), ..crawl_options(&server) };
    let crawl = || Crawl::new(Visitor::new(client()), options()).unwrap();
    let mut first = crawl();
    assert_eq!(run(&mut first).await.end, End::Idle);
    for (begun, most_seconds) in [(0, 0u32), (in_ten_years(), 2), (u64::MAX, 2)] {
        let mut cursor = first.cursor();
        assert!(cursor["begun"].is_u64(), "{cursor}");
        cursor["begun"] = begun.into();
        let mut later = crawl();
        later.resume(cursor).unwrap();
        let (before, waited) = (server.pages().len(), wait_for_batch(&mut later).await);
        assert!(waited <= most_seconds * SECOND, "{begun}: {waited:?}");
        assert_eq!(server.pages().len(), before + 1, "{begun}");
        // The next run knows the time of this one.
        let begun = later.cursor()["begun"].as_u64().unwrap();
        assert!((1..in_ten_years()).contains(&begun), "{begun}");
    }
}

#[tokio::test]
async fn scope_depth_and_prefixes_bound_a_crawl() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/docs/" => html("<a href=/docs/a>a</a><a href=/blog/>b</a>"),
        "/docs/a" => html("<a href=/docs/b>b</a>"),
        _ => html("<a href=/docs/c>c</a>"),
    })
    .await;
    let options = CrawlOptions {
        path_prefixes: vec!["/docs/".to_owned()],
        max_depth: 2,
        scope: Scope::Sites,
        ..CrawlOptions::new("docs", vec![server.url("/docs/")])
    };
    run(&mut Crawl::new(Visitor::new(client()), options).unwrap()).await;
    assert_eq!(server.pages(), ["/docs/", "/docs/a", "/docs/b"]);
    assert!(Crawl::new(Visitor::new(client()), CrawlOptions::new("web", vec![])).is_err());
}

#[tokio::test]
async fn a_crawl_stops_when_it_is_told_to_or_has_used_its_budget() {
    let server = Server::start(|_, _| html([b'x'; 2000])).await;
    let mut memory = super::server::Memory::default();
    let watch = FillOptions::default();
    let (end, _) = fill(&mut crawl(&server), &mut memory, &watch, &(), ready(())).await.unwrap();
    assert_eq!(end, End::Cancelled);
    assert!(memory.cursor.is_some());

    let budget = HttpOptions { budget_bytes: Some(1), ..options() };
    let visitor = Visitor::new(HttpClient::new(budget).unwrap());
    let filled = run(&mut Crawl::new(visitor, crawl_options(&server)).unwrap()).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Budget, 0));
}
