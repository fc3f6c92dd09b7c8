//! PyTorch in a Python process of its own, which waits on its standard input
//! while others have their turn.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::peer::{Peer, Values, names};
use crate::work::Problem;

/// PyTorch, eager mode.
pub struct Torch {
    child: Child,
    asks: BufWriter<ChildStdin>,
    tells: BufReader<ChildStdout>,
    names: Vec<String>,
    /// Its version and what it runs on, for people.
    pub description: String,
}

impl Torch {
    /// Starts the Python that `WGRAD_PYTHON` names, else `python3`, on the GPU or on
    /// so many threads of the CPU.
    ///
    /// # Errors
    /// There is no such Python, or it has no torch, or that sees no GPU.
    pub fn start(threads: usize, gpu: bool) -> Result<Torch> {
        let python = std::env::var("WGRAD_PYTHON").unwrap_or_else(|_| "python3".to_string());
        let mut child = Command::new(&python)
            .args(["-c", include_str!("peer_torch.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("no Python to start (`{python}`)"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (asks, tells) = pipes.context("the Python process has no pipes")?;
        let mut torch = Torch {
            child,
            asks: BufWriter::new(asks),
            tells: BufReader::new(tells),
            names: Vec::new(),
            description: String::new(),
        };
        let hello = torch.ask(&json!({"do": "hello", "threads": threads, "gpu": gpu}), &[])?;
        if let Some(reason) = hello["missing"].as_str() {
            bail!("`{python}`: {reason}");
        }
        let text = |key: &str| hello[key].as_str().unwrap_or("unknown").to_string();
        torch.description = format!("PyTorch {} (eager, {})", text("version"), text("device"));
        Ok(torch)
    }

    fn ask(&mut self, message: &Value, data: &[&[f32]]) -> Result<Value> {
        writeln!(self.asks, "{message}")?;
        for values in data {
            for value in *values {
                self.asks.write_all(&value.to_le_bytes())?;
            }
        }
        self.asks.flush()?;
        let mut line = String::new();
        if self.tells.read_line(&mut line)? == 0 {
            bail!("the Python process ended; what it said is above");
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; count * 4];
        self.tells.read_exact(&mut bytes)?;
        let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        Ok(bytes.chunks_exact(4).map(word).collect())
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // Its loop would end with our end of the pipe, but that closes only
        // after this; there is nothing in it to be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer for Torch {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn prepare(&mut self, problem: &Problem) -> Result<()> {
        self.names = names(problem);
        match problem {
            Problem::Net(net) => {
                let mut data = vec![net.x.as_slice(), &net.y];
                for (w, b) in &net.layers {
                    data.extend([w.as_slice(), b]);
                }
                let ask = json!({"do": "network", "sizes": net.sizes, "batch": net.batch});
                self.ask(&ask, &data)?;
            }
            Problem::Matmul { size, a, b } => {
                self.ask(&json!({"do": "matmul", "size": size}), &[a, b])?;
            }
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<Values> {
        let told = self.ask(&json!({"do": "answer"}), &[])?;
        let counts: Vec<usize> = serde_json::from_value(told["counts"].clone())?;
        let names = self.names.clone();
        let read = |(name, count)| Ok((name, self.floats(count)?));
        names.into_iter().zip(counts).map(read).collect()
    }

    fn burst(&mut self, reads: usize, steps: usize) -> Result<f64> {
        let told = self.ask(&json!({"do": "burst", "reads": reads, "steps": steps}), &[])?;
        let seconds = told["seconds"].as_f64();
        seconds.ok_or_else(|| anyhow!("the Python process gave no time: {told}"))
    }
}
