//! From the start of a process to the end of its first step, with nothing
//! cached by anybody.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wgrad::run::gpu::AdapterDescription;

use crate::burn_peer::Burn;
use crate::peer::Peer;
use crate::report::{Cell, State};
use crate::stats::Spread;
use crate::wgrad_peer::Wgrad;
use crate::work::{Kind, Problem, choose};

/// The child's part: one step from nothing, then a word.
pub fn child(contestant: &str, work: &str, kind: &str, adapter: &str) -> Result<()> {
    let works = choose(&[work.to_string()], true)?;
    let task = works.iter().find_map(|work| match work.kind {
        Kind::Cold { task, .. } | Kind::Steady { task, .. } => Some(task),
        Kind::Growth { .. } => None,
    });
    let problem = Problem::new(task.with_context(|| format!("`{work}` is no single step"))?);
    let mut peer: Box<dyn Peer> = match contestant {
        "wgrad" => Box::new(Wgrad::new()?),
        "burn" => Box::new(Burn::new(kind, adapter)?),
        other => bail!("no cold start of `{other}`; there are wgrad, burn"),
    };
    peer.prepare(&problem)?;
    peer.burst(1, 1)?;
    println!("done");
    Ok(())
}

/// Cold starts in turn, up to five of each.
pub fn measure(
    contestants: &[&str],
    work: &str,
    adapter: &AdapterDescription,
    budget: Duration,
) -> Vec<Cell> {
    const MOST: usize = 5;
    let began = Instant::now();
    let mut seconds = vec![Ok(Vec::new()); contestants.len()];
    for round in 0..MOST {
        if round > 0 && began.elapsed() >= budget {
            break;
        }
        for (contestant, seconds) in contestants.iter().zip(&mut seconds) {
            if let Ok(times) = seconds {
                match start(contestant, work, adapter) {
                    Ok(time) => times.push(time),
                    Err(error) => *seconds = Err(format!("{error:#}")),
                }
            }
        }
    }
    let first = seconds.first().and_then(|s| s.clone().ok());
    let cell = |(i, (name, seconds)): (usize, (&&str, Result<Vec<f64>, String>))| {
        let state = match seconds {
            Err(reason) => State::Failed(reason),
            Ok(seconds) => {
                let ratios = first.as_ref().filter(|_| i > 0).map(|first| {
                    let pairs = seconds.iter().zip(first);
                    pairs.map(|(theirs, ours)| theirs / ours).collect()
                });
                State::Measured {
                    rounds: seconds.len(),
                    steps: 1,
                    times: ratios.map(Spread::of),
                    seconds: Spread::of(seconds),
                    error: None,
                }
            }
        };
        let contestant = name.to_string();
        Cell { contestant, state }
    };
    contestants
        .iter()
        .zip(seconds)
        .enumerate()
        .map(cell)
        .collect()
}

fn start(contestant: &str, work: &str, adapter: &AdapterDescription) -> Result<f64> {
    // Where caches would be: the working folder (burn's), the user's cache
    // folder (Mesa's, wgrad's).
    let empty = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["cold", contestant, work])
        .args(["--kind", &adapter.kind.to_string()])
        .args(["--adapter", &adapter.name])
        .current_dir(empty.path())
        .env("XDG_CACHE_HOME", empty.path())
        .env("MESA_SHADER_CACHE_DISABLE", "true")
        .env("__GL_SHADER_DISK_CACHE", "0")
        .stdout(Stdio::piped())
        .spawn()?;
    let said = child.stdout.take().context("the child has no output")?;
    let mut word = String::new();
    BufReader::new(said).read_line(&mut word)?;
    let seconds = began.elapsed().as_secs_f64();
    child.wait()?;
    if word.trim() != "done" {
        bail!("{contestant} did not finish its first step; what it said is above");
    }
    Ok(seconds)
}
