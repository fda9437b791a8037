// SPDX-License-Identifier: Apache-2.0

//! Crawls of sites that have no end, no order, or no manners.

use super::{
    crawl::{crawl, crawl_options},
    server::{Reply, Server, client, html, in_ten_years, missing, redirect, response, run},
};
use flate2::{Compression, write::GzEncoder};
use pol_sources::{
    End, Source, Step,
    crawl::{Crawl, CrawlOptions, Visitor},
};
use serde_json::Value;
use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

#[tokio::test]
async fn endless_links_end() {
    let server = Server::start(|got, _| {
        let path = got.path.split('?').next().unwrap().trim_end_matches('/');
        let page = got.path.len();
        match got.path.as_str() {
            "/robots.txt" => missing(),
            _ => html(format!(
                "<a href='{path}/deeper'>d</a><a href='/page/{page}1'>p</a><a \
                 href='/calendar?year={page}7&month=1'>c</a><a href='{path}/a{page}'>n</a>"
            )),
        }
    })
    .await;
    let options = CrawlOptions {
        max_pages_per_host: 60,
        max_pages_per_shape: 5,
        max_depth: 1000,
        ..crawl_options(&server)
    };
    let filled = run(&mut Crawl::new(Visitor::new(client()), options).unwrap()).await;
    assert_eq!(filled.end, End::Done);
    let pages = server.pages();
    assert!(pages.len() <= 60, "{}", pages.len());
    assert!(pages.iter().filter(|path| path.starts_with("/calendar?")).count() <= 5);
    assert!(pages.iter().all(|path| path.matches("/deeper").count() <= 2));
}

#[tokio::test]
async fn a_crawl_ends_at_its_number_of_pages() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        path => html(format!("<a href='/x{}'>x</a><a href='/y{}'>y</a>", path.len(), path.len())),
    })
    .await;
    let options = CrawlOptions { max_pages: 7, ..crawl_options(&server) };
    let filled = run(&mut Crawl::new(Visitor::new(client()), options).unwrap()).await;
    assert!(filled.end == End::Done && server.pages().len() <= 7);
}

#[tokio::test]
async fn redirects_end_and_stay_within_the_crawl() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html("<a href=/loop>1</a><a href=/self>2</a><a href=/n/1>3</a><a href=/out>4</a>"),
        "/loop" => redirect("/pool"),
        "/pool" => redirect("/loop"),
        "/self" => redirect("/self#again"),
        "/out" => redirect("http://169.254.169.254/"),
        path => {
            let number: u32 = path.trim_start_matches("/n/").parse().unwrap();
            redirect(&format!("/n/{}", number + 1))
        }
    })
    .await;
    let filled = run(&mut crawl(&server)).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Done, 1));
    assert!(filled.reason("/self").contains("without an end"));
    assert!(filled.reason("/out").contains("outside of the crawl"));
    assert!(filled.reason("/n/6").contains("without an end"));
    assert!(server.pages().len() < 15);
}

#[tokio::test]
async fn raw_bytes_stay_whatever_their_charset_and_markup() {
    let latin = b"<p>caf\xe9 <a href='/utf16'>next</a></p></div></b><table><p".to_vec();
    let utf16: Vec<u8> = "\u{feff}<p>text</p>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (one, two) = (latin.clone(), utf16.clone());
    let server = Server::start(move |got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => response("200 OK", "Content-Type: text/html; charset=utf-8\r\n", &one),
        _ => response("200 OK", "Content-Type: text/html; charset=klingon\r\n", &two),
    })
    .await;
    let filled = run(&mut crawl(&server)).await;
    let document = |path| filled.document(path);
    assert_eq!(document("/").bytes, latin);
    assert_eq!(document("/").media.as_deref(), Some("text/html; charset=utf-8"));
    assert_eq!(document("/utf16").bytes, utf16);
    assert_eq!(document("/utf16").media.as_deref(), Some("text/html; charset=klingon"));
}

#[tokio::test]
async fn a_host_that_fails_again_and_again_is_left() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html((0..50).map(|n| format!("<a href='/{n}'>{n}</a>")).collect::<String>()),
        _ => Reply::Nothing,
    })
    .await;
    let mut rested = crawl(&server);
    let filled = run(&mut rested).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Idle, 1));
    for visits in [6, 11, 16] {
        assert_eq!(server.pages().len(), visits);
        let Step::Wait(time) = rested.next().await.unwrap() else { panic!("it does not rest") };
        assert!((590..=600).contains(&time.as_secs()), "{time:?}");
        let cursor = after_rests(&rested);
        rested = crawl(&server);
        rested.resume(cursor).unwrap();
        let filled = run(&mut rested).await;
        assert_eq!(filled.end, if visits < 16 { End::Idle } else { End::Done });
        let is_left = filled.refused.iter().any(|it| it.reason.contains("45 further pages"));
        assert_eq!(is_left, visits == 16, "{:?}", filled.refused);
    }
    assert_eq!(server.pages().len(), 21);
}

/// Returns the cursor of a crawl at the end of all rests.
fn after_rests(crawl: &Crawl) -> Value {
    let mut cursor = crawl.cursor();
    for rest in cursor["rests"].as_object_mut().unwrap().values_mut() {
        rest["end"] = 0.into();
    }
    cursor
}

/// Returns a site whose front page never changes, and whose other pages answer if the flag is set.
async fn site_with_outage() -> (Server, Arc<AtomicBool>) {
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let server = Server::start(move |got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" if got.has("if-none-match", "\"1\"") => response("304 Not Modified", "", ""),
        "/" => {
            let links: String = (0..12).map(|n| format!("<a href='/{n}'>{n}</a>")).collect();
            response("200 OK", "Content-Type: text/html\r\nETag: \"1\"\r\n", links)
        }
        path if up.load(Ordering::Relaxed) => html(format!("text of {path}")),
        _ => Reply::Nothing,
    })
    .await;
    (server, is_up)
}

#[tokio::test]
async fn an_outage_that_ends_loses_no_page() {
    let (server, is_up) = site_with_outage().await;
    let mut first = crawl(&server);
    assert_eq!(run(&mut first).await.end, End::Idle);
    is_up.store(true, Ordering::Relaxed);
    let mut later = crawl(&server);
    later.resume(after_rests(&first)).unwrap();
    let filled = run(&mut later).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Done, 12));
    assert!(filled.refused.is_empty(), "{:?}", filled.refused);
}

#[tokio::test]
async fn pages_of_a_host_that_was_left_are_asked_for_in_the_next_round() {
    let (server, is_up) = site_with_outage().await;
    let revisit = Some(Duration::from_secs(3600));
    let again = |cursor| {
        let options = CrawlOptions { revisit, ..crawl_options(&server) };
        let mut crawl = Crawl::new(Visitor::new(client()), options).unwrap();
        crawl.resume(cursor).unwrap();
        crawl
    };
    let options = CrawlOptions { revisit, ..crawl_options(&server) };
    let mut crawl = Crawl::new(Visitor::new(client()), options).unwrap();
    assert_eq!(run(&mut crawl).await.documents.len(), 1);
    for _ in 0..3 {
        crawl = again(after_rests(&crawl));
        assert_eq!(run(&mut crawl).await.end, End::Idle);
    }
    assert!(crawl.cursor().get("rests").is_none());
    is_up.store(true, Ordering::Relaxed);
    // The front page says nothing of its links, as it has not changed.
    let mut cursor = crawl.cursor();
    cursor["begun"] = 0.into();
    let filled = run(&mut again(cursor)).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Idle, 12));
}

#[tokio::test]
async fn a_busy_host_rests_and_goes_on() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/busy" => response("429 Too Many Requests", "Retry-After: 0\r\n", ""),
        "/" if count.fetch_add(1, Ordering::Relaxed) == 0 => {
            response("503 Service Unavailable", "Retry-After: 1\r\n", "")
        }
        _ => html("<a href=/busy>b</a>"),
    })
    .await;
    let start = Instant::now();
    let filled = run(&mut crawl(&server)).await;
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(filled.documents.len(), 1);
    assert!(filled.reason("/busy").contains("busy"));
    assert_eq!(server.pages(), ["/", "/", "/busy", "/busy", "/busy", "/busy"]);
}

#[tokio::test]
async fn a_later_run_leaves_a_host_alone_that_asked_for_it() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html("<a href=/busy>b</a>"),
        _ => response("429 Too Many Requests", "Retry-After: 3600\r\n", ""),
    })
    .await;
    let mut first = crawl(&server);
    assert_eq!(run(&mut first).await.end, End::Idle);
    assert_eq!(server.pages(), ["/", "/busy"]);
    let host = server.root.authority();
    for (end, most_hours) in [(None, 1), (Some(in_ten_years()), 24), (Some(u64::MAX), 24)] {
        let mut cursor = first.cursor();
        assert!(cursor["rests"][host]["end"].is_u64(), "{cursor}");
        if let Some(end) = end {
            cursor["rests"][host]["end"] = end.into();
        }
        let mut later = crawl(&server);
        later.resume(cursor).unwrap();
        let Step::Wait(time) = later.next().await.unwrap() else { panic!("it does not wait") };
        let seconds = most_hours * 3600;
        assert!((seconds - 60..=seconds).contains(&time.as_secs()), "{time:?}");
    }
    assert_eq!(server.pages(), ["/", "/busy"]);
    let mut later = crawl(&server);
    later.resume(after_rests(&first)).unwrap();
    assert_eq!(run(&mut later).await.end, End::Idle);
    assert_eq!(server.pages(), ["/", "/busy", "/busy"]);
    // Cursors of crawls without rests are as before.
    assert!(crawl(&server).cursor().get("rests").is_none());
}

#[tokio::test]
async fn large_and_slow_pages_are_refused_and_the_crawl_goes_on() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => missing(),
        "/" => html("<a href=/flood>1</a><a href=/slow>2</a><a href=/cut>3</a><a href=/ok>4</a>"),
        "/flood" => Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        "/slow" => Reply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Duration::from_millis(50)),
        "/cut" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ntext".to_vec()),
        _ => html("text"),
    })
    .await;
    let filled = run(&mut crawl(&server)).await;
    assert_eq!((filled.end, filled.documents.len()), (End::Done, 2));
    assert!(filled.reason("/flood").contains("larger"));
    assert!(filled.reason("/slow").contains("slowly"));
    assert!(filled.reason("/cut").contains("cannot be read"));
}

#[tokio::test]
async fn endless_robots_txt_is_cut() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/robots.txt" => {
            let file = "User-agent: *\nDisallow: /private\n".to_owned() + &"# x\n".repeat(300_000);
            response("200 OK", "", file)
        }
        "/" => html("<a href=/private>p</a>"),
        _ => html("text"),
    })
    .await;
    assert_eq!(run(&mut crawl(&server)).await.documents.len(), 1);
    assert_eq!(server.pages(), ["/"]);
}

#[tokio::test]
async fn compressed_robots_txt_is_obeyed() {
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let rules = "User-agent: *\nDisallow: /private\n".to_owned();
    let (short, long) = (gzip(&rules), gzip(&(rules + &"# x\n".repeat(300_000))));
    let cut = short[..short.len() - 9].to_vec();
    for (coding, file, pages) in [
        ("gzip", short.clone(), &["/"][..]),
        ("gzip", long, &["/"]),
        // What cannot be read forbids everything.
        ("gzip", cut, &[]),
        ("br", short, &[]),
    ] {
        let server = Server::start(move |got, _| match got.path.as_str() {
            "/robots.txt" => response("200 OK", &format!("Content-Encoding: {coding}\r\n"), &file),
            "/" => html("<a href=/private>p</a>"),
            _ => html("text"),
        })
        .await;
        let filled = run(&mut crawl(&server)).await;
        assert_eq!(server.pages(), pages, "{coding}");
        assert!(filled.refused[0].reason.starts_with("robots.txt"), "{:?}", filled.refused);
    }
}
