//! The dashboard at `/` of the ops listener, by its bytes (its script is run by `tests/e2e/dashboard.rs`).

use crate::support::{RawReply, World};

fn page(world: &World, path: &str, kind: &str) -> RawReply {
    let reply = world.ops(path);
    assert_eq!((reply.status, reply.header("content-type").as_deref()), (200, Some(kind)), "{path}");
    reply
}

#[test]
fn the_page_is_whole_and_asks_nobody_but_its_own_bridge() {
    let world = World::new();
    let pages = [
        page(&world, "/", "text/html; charset=utf-8"),
        page(&world, "/dashboard.css", "text/css; charset=utf-8"),
        page(&world, "/dashboard.js", "text/javascript; charset=utf-8"),
    ];
    for reply in &pages {
        let policy = reply.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|told| told == rule), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options").as_deref(), Some("nosniff"));
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
        for elsewhere in ["http:", "https:", "//cdn", "@import", "url(", "innerHTML", "localStorage", "document.write"]
        {
            assert!(!reply.body.contains(elsewhere), "{elsewhere}");
        }
    }
    let html = &pages[0].body;
    let names =
        |attribute: &str| html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()).collect::<Vec<_>>();
    assert_eq!((names("src=\""), names("href=\"")), (vec!["dashboard.js"], vec!["dashboard.css", "metrics", "readyz"]));
    let handler =
        |rest: &str| rest.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphabetic()));
    assert!(
        !html.contains("<script>") && !html.contains("style=") && !html.split(" on").skip(1).any(handler),
        "nothing inline"
    );
    // Whatever the script looks for is in the page, and what it asks is there.
    let script = &pages[2].body;
    for id in script.split("byId(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(html.contains(&format!("id=\"{id}\"")), "{id}");
    }
    for path in ["readyz", "metrics"] {
        assert!(script.contains(&format!("fetch(\"{path}\", {{ signal }})")));
        assert_eq!(world.ops(&format!("/{path}")).status, 200);
    }
    assert!(script.contains("fetch(\"api/v1/table\", { headers: { authorization:"));
    let table = world.ops("/api/v1/table");
    assert_eq!(table.status, 401, "the table is for whoever shows the ops token");
    // RFC 9110 section 15.5.2. For `Basic` a browser would ask the person, in the page's place.
    assert_eq!(table.header("www-authenticate").as_deref(), Some("Bearer realm=\"passbridge\""));
    assert_eq!(world.ops("/dashboard.txt").status, 404);
}
