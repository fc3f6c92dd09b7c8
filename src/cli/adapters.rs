//! `wgrad adapters`: what there is to compute on.

use serde_json::json;
use wgrad::Result;
use wgrad::report::{json, text};

use super::{EngineArgs, Outcome, output, tune};

pub fn run(engine: &EngineArgs, as_json: bool) -> Result<Outcome> {
    let (adapters, chosen) = engine.list()?;
    let chosen = chosen?;
    if as_json {
        let list: Vec<_> = adapters
            .descriptions()
            .map(|d| {
                let mut value = json::adapter(d);
                value["chosen"] = json!(d.index == chosen);
                value["tuned"] = json!(engine.tuned(d));
                value
            })
            .collect();
        output::json(&json!(list))?;
        return Ok(Outcome::Good);
    }
    let mib = |bytes: u64| match bytes {
        b if b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b => format!("{b} B"),
    };
    let mut table = text::plain_table();
    table.set_header(vec![
        "",
        "index",
        "name",
        "type",
        "backend",
        "driver",
        "max binding",
        "max buffer",
        "invocations",
        "workgroup memory",
    ]);
    for d in adapters.descriptions() {
        table.add_row(vec![
            if d.index == chosen {
                "*".to_string()
            } else {
                String::new()
            },
            d.index.to_string(),
            d.name.clone(),
            d.kind.to_string(),
            d.backend.to_string(),
            d.driver.clone(),
            mib(d.max_binding),
            mib(d.max_buffer),
            d.max_invocations.to_string(),
            format!("{} KiB", d.workgroup_memory >> 10),
        ]);
    }
    let mut out = String::new();
    text::write_table(&mut out, &table);
    output::data(&out)?;
    for d in adapters.descriptions() {
        if let Some(tuned) = engine.tuned(d) {
            output::data(&format!("\n   {}: {}\n", d.index, tune::summary(&tuned)))?;
            output::data(&tune::choices(&tuned))?;
        }
    }
    output::data("\n   * taken by a plain run; --adapter INDEX or NAME takes another\n")?;
    Ok(Outcome::Good)
}
