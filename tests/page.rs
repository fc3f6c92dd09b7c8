//! The worked solution as a page: the committed one is what the program makes, and
//! a browser shows it without a fault and walks through it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use common::tool;
use serde_json::Value;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

fn wgrad(arguments: &[&str]) -> String {
    let output = Command::new(cargo_bin("wgrad"))
        .args(arguments)
        .args(["--no-cache"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// The page with what differs from run to run left out: its date, adapter, driver
/// and command.
fn masked(page: &str) -> String {
    let mut text = page.to_string();
    for id in ["adapter", "driver", "date", "command"] {
        let start = text
            .find(&format!("id=\"{id}\""))
            .unwrap_or_else(|| panic!("no {id}"));
        let end = start + text[start..].find("</").unwrap();
        text.replace_range(start..end, id);
    }
    text
}

/// Without its digits, for an adapter that rounds otherwise than the one of the
/// committed page.
fn without_digits(text: &str) -> String {
    let number = |c: char| c.is_ascii_digit() || ".-\u{2212}".contains(c);
    let mut out = String::new();
    for c in text.chars() {
        match number(c) {
            true if out.ends_with('#') => {}
            true => out.push('#'),
            false => out.push(c),
        }
    }
    out
}

fn same(name: &str, made: &str, committed: &str, how: &str) {
    // The committed files are from this adapter; another may round otherwise.
    let same_adapter = wgrad(&["adapters"]).contains("llvmpipe");
    let pair = match same_adapter {
        true => (made.to_string(), committed.to_string()),
        false => {
            eprintln!(
                "{name}: another adapter than that of the committed file; compared without digits"
            );
            (without_digits(made), without_digits(committed))
        }
    };
    let lines = pair.0.lines().zip(pair.1.lines()).enumerate();
    for (i, (a, b)) in lines {
        assert_eq!(
            a,
            b,
            "docs/{name}, line {}; make it again with `{how}`",
            i + 1
        );
    }
    assert_eq!(pair.0.lines().count(), pair.1.lines().count());
}

#[test]
fn the_committed_page_is_what_the_program_makes() {
    let committed = fs::read_to_string(docs("exercise.html")).unwrap();
    let made = wgrad(&["report"]);
    assert_ne!(masked(&made), made);
    same(
        "exercise.html",
        &masked(&made),
        &masked(&committed),
        "wgrad report -o docs/exercise.html",
    );
}

#[test]
fn the_committed_picture_is_what_the_program_makes() {
    let committed = fs::read_to_string(docs("exercise.svg")).unwrap();
    let how = ["graph", "--values", "--backward", "--format", "svg"];
    same(
        "exercise.svg",
        &wgrad(&how),
        &committed,
        &format!("wgrad {} -o docs/exercise.svg", how.join(" ")),
    );
}

/// What a page would load from elsewhere.
#[test]
fn a_page_loads_nothing() {
    let page = fs::read_to_string(docs("exercise.html")).unwrap();
    for part in ["src=\"", "href=\"", "url("] {
        for after in page.split(part).skip(1) {
            assert!(
                after.starts_with('#') || after.starts_with("data:"),
                "{part}{}",
                &after[..40]
            );
        }
    }
    assert!(!page.contains("@import") && !page.contains("fetch("));
    assert!(page.contains("default-src 'none'"));
}

/// What a page is given it shows as text.
#[test]
fn what_is_given_is_escaped() {
    let title = "</title><script>alert('&')</script>";
    let page = wgrad(&["report", "--cpu", "--title", title]);
    assert_eq!(page.matches("<script>").count(), 1);
    // In the title, the heading, the picture's title and the command.
    assert_eq!(page.matches("&lt;script&gt;").count(), 4);
    assert!(page.contains("the CPU reference alone"));
}

#[test]
fn a_large_network_has_heat_maps() {
    let net =
        "Sequential(Linear(784, 512), ReLU(), Linear(512, 256), ReLU(), Linear(256, 1), Sigmoid())";
    let page = wgrad(&["report", "--net", net, "--loss", "BCELoss", "--batch", "64"]);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
    assert!(page.contains("downsampled from 512 x 784 values"));
    assert!(page.contains("shape [512, 784]"));
}

/// Runs a page in a browser with `script` behind it, and gives what that found
/// together with every fault.
fn in_browser(chromium: &Path, page: &str, script: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let watch = "<script>window.faults = [];\
        addEventListener('error', (e) => faults.push(String(e.message || e.target.src)), true);\
        addEventListener('securitypolicyviolation', (e) => faults.push('policy: ' + e.violatedDirective));\
        </script><title>";
    let run = format!(
        "<script>{{ let found = null; try {{ found = (() => {{ {script} }})(); }} \
         catch (e) {{ faults.push(String(e)); }} \
         const out = document.createElement('pre'); out.id = 'found'; \
         out.textContent = JSON.stringify({{ faults, found }}); document.body.append(out); }}</script></body>"
    );
    let page = page
        .replacen("<title>", watch, 1)
        .replacen("</body>", &run, 1);
    let file = folder.path().join("page.html");
    fs::write(&file, page).unwrap();
    let output = Command::new(chromium)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--window-size=1280,900",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let start = dom
        .find("<pre id=\"found\">")
        .unwrap_or_else(|| panic!("the script did not run: {dom}"));
    let text = &dom[start + 16..];
    let text = &text[..text.find("</pre>").unwrap()];
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_browser_shows_every_figure_and_walks_the_steps() {
    let Some(chromium) = tool(
        "chromium",
        "chromium",
        "a_browser_shows_every_figure_and_walks_the_steps",
    ) else {
        return;
    };
    let page = wgrad(&["report"]);
    let result = in_browser(
        &chromium,
        &page,
        r##"
        const steps = [...document.querySelectorAll("li.step")];
        const shown = () => steps.filter((s) => s.offsetHeight > 0).length;
        const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const found = { steps: steps.length, at_first: shown(), walk: [], covered: [], text: document.body.innerText };
        for (let i = 0; i < steps.length + 1; i++) {
          press("ArrowRight");
          found.walk.push([shown(), document.querySelector(".now").id, document.querySelector(".node.this").dataset.node]);
          // The step is in view, below the graph, and nothing covers it.
          const box = document.querySelector(".now h3").getBoundingClientRect();
          const at = document.elementFromPoint(box.left + 5, box.top + box.height / 2);
          if (!at || !at.closest(".now")) found.covered.push(i);
        }
        found.status = document.getElementById("status").textContent;
        found.next_at_end = document.getElementById("next").disabled;
        press("ArrowLeft");
        found.back = shown();
        document.getElementById("back").click();
        found.button = shown();
        document.getElementById("next").click();
        found.forth = shown();
        found.later = document.querySelectorAll(".node.later").length;
        // One gradient is not yet known, so the box of its value does not tell it.
        found.unknown = [...document.querySelectorAll(".unknown")].map((e) => e.closest(".node").querySelector(".symbol").textContent).join();
        press("Escape");
        found.all = shown();
        // A node that is pointed at shows what it reads and its gradient's way.
        const symbol = (n) => n.querySelector(".symbol").textContent;
        const node = [...document.querySelectorAll(".node")].find((n) => symbol(n) === "h1");
        node.dispatchEvent(new PointerEvent("pointerenter"));
        found.reads = [...document.querySelectorAll(".node.read")].map(symbol);
        found.way = [...document.querySelectorAll(".node.way")].map(symbol).sort();
        node.dispatchEvent(new PointerEvent("pointerleave"));
        found.marked = document.querySelectorAll(".this, .read, .way").length;
        node.focus();
        found.focused = document.activeElement === node && node.classList.contains("this");
        // What one hears, and where links lead.
        found.spoken = node.getAttribute("aria-label");
        found.dead = [...document.querySelectorAll("a[href^='#']")].filter((a) => !document.querySelector(a.getAttribute("href"))).length;
        found.math = [...document.querySelectorAll("math")].every((m) => m.getBoundingClientRect().width > 0);
        found.empty = document.querySelectorAll("math merror, math:empty").length;
        const page = document.documentElement;
        found.sideways = page.scrollWidth - page.clientWidth;
        return found;
        "##,
    );
    assert_eq!(result["faults"], serde_json::json!([]));
    let found = &result["found"];
    let steps = found["steps"].as_u64().unwrap();
    assert!(steps >= 13, "{steps}");
    assert_eq!(found["at_first"], steps);
    let walk = found["walk"].as_array().unwrap();
    for (i, at) in walk.iter().enumerate() {
        assert_eq!(at[0], (i as u64 + 1).min(steps), "{walk:?}");
        assert_eq!(at[1], format!("step-{}", at[2].as_str().unwrap()));
    }
    assert_eq!(found["covered"], serde_json::json!([]));
    assert_eq!(found["unknown"], "W0,\u{2202}L/\u{2202}W0");
    let status = found["status"].as_str().unwrap();
    assert!(
        status.starts_with(&format!("Step {steps} of {steps}: ")),
        "{status}"
    );
    assert_eq!(found["next_at_end"], true);
    assert_eq!(
        (&found["back"], &found["button"], &found["forth"]),
        (
            &Value::from(steps - 1),
            &Value::from(steps - 2),
            &Value::from(steps - 1)
        )
    );
    assert_eq!(
        (&found["later"], &found["all"]),
        (&Value::from(1), &Value::from(steps))
    );
    assert_eq!(found["reads"], serde_json::json!(["h0"]));
    let way: Vec<_> = found["way"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    for gradient in [
        "\u{2202}L/\u{2202}h1",
        "\u{2202}L/\u{2202}h2",
        "\u{2202}L/\u{2202}h3",
    ] {
        assert!(way.contains(&gradient), "{way:?}");
    }
    assert!(!way.contains(&"\u{2202}L/\u{2202}h0"), "{way:?}");
    assert_eq!(found["marked"], 0);
    assert_eq!(
        (&found["focused"], &found["math"]),
        (&Value::from(true), &Value::from(true))
    );
    assert_eq!(
        (&found["dead"], &found["empty"], &found["sideways"]),
        (&Value::from(0), &Value::from(0), &Value::from(0))
    );
    let spoken = found["spoken"].as_str().unwrap();
    assert!(
        spoken.starts_with("h1, relu, shape [1, 2], reads h0, value "),
        "{spoken}"
    );

    // Every figure that the sheet prints, and every value side by side.
    let text = found["text"].as_str().unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let json: Value = serde_json::from_str(&wgrad(&["report", "--json"])).unwrap();
    let sheet = json["sheet"].as_array().unwrap();
    assert_eq!(sheet.len(), 31);
    for figure in sheet {
        let printed = figure["sheet"].as_str().unwrap();
        assert!(words.contains(&printed), "{printed} is not on the page");
    }
    for step in json["steps"].as_array().unwrap() {
        for value in step["values"].as_array().unwrap() {
            let shown = format!("{}", value.as_f64().unwrap() as f32);
            assert!(
                words.contains(&shown.as_str()),
                "{shown} is not on the page"
            );
        }
    }
}

/// On a phone nothing but the frames that scroll is wider than the screen.
#[test]
fn a_large_page_has_no_fault_and_fits_a_phone() {
    let Some(chromium) = tool(
        "chromium",
        "chromium",
        "a_large_page_has_no_fault_and_fits_a_phone",
    ) else {
        return;
    };
    let net = "Sequential(Linear(12, 9), ReLU(), Linear(9, 3), Sigmoid())";
    let page = wgrad(&["report", "--net", net, "--loss", "BCELoss", "--batch", "30"]);
    let result = in_browser(
        &chromium,
        &page,
        r#"
        document.body.style.width = "360px";
        const wide = [...document.querySelectorAll("body *")].filter((e) =>
          !e.closest("svg, .wide, pre, .graph-frame") && e.getBoundingClientRect().right > 361);
        const heat = [...document.querySelectorAll(".heat-map img")];
        return {
          wide: wide.map((e) => e.outerHTML.slice(0, 80)),
          heat: heat.length,
          words: heat.every((i) => i.alt.startsWith("Heat map of ") && i.naturalWidth > 0),
        };
        "#,
    );
    assert_eq!(result["faults"], serde_json::json!([]));
    let found = &result["found"];
    assert_eq!(
        (&found["wide"], &found["words"]),
        (&serde_json::json!([]), &Value::from(true))
    );
    assert!(found["heat"].as_u64().unwrap() >= 10, "{found}");
}

/// A drawing is well-formed XML, which a browser insists on.
#[test]
fn a_browser_reads_the_drawing() {
    let Some(chromium) = tool("chromium", "chromium", "a_browser_reads_the_drawing") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("graph.svg");
    let drawing = wgrad(&["graph", "--plan", "--values", "--format", "svg"]);
    fs::write(&file, &drawing).unwrap();
    let output = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    assert!(!dom.contains("parsererror"), "{dom}");
    let nodes = drawing.matches("class=\"node ").count();
    assert!(nodes >= 19 && dom.matches("class=\"node ").count() == nodes);
}
