//! One family of GPUs: a process of its own compiles for it, since the driver reads the
//! family's name once and ends the process where it does not know it. That process tells
//! what it does on its output, a JSON document a line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::row::Row;
use crate::spirv::Wgsl;
use crate::vulkan::Device;
use crate::works::{self, Kernel};

/// What became of the kernels on a family.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Family {
    /// As it was asked for.
    pub family: String,
    /// As the driver calls its device.
    pub device: String,
    /// The driver's version.
    pub driver: String,
    pub rows: Vec<Row>,
    /// The kernels that do not compile, and why.
    pub failed: Vec<String>,
}

/// A line of the process.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Device { device: String, driver: String },
    NoRadv(String),
    Usage(String),
    Begins(String),
    Row(Box<Row>),
    Failed(String),
}

fn tell(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, line)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// The process: compiles the kernels of these files, or wgrad's own, and writes texts
/// into `folder`.
pub fn compile(files: &[PathBuf], folder: Option<&Path>) -> Result<()> {
    let device = match Device::open() {
        Ok(device) => device,
        Err(error) => return tell(&Line::NoRadv(format!("{error:#}"))),
    };
    tell(&Line::Device {
        device: device.name.clone(),
        driver: device.driver.clone(),
    })?;
    let kernels = match kernels(&device, files) {
        Ok(kernels) => kernels,
        Err(error) => return tell(&Line::Usage(format!("{error:#}"))),
    };
    for (i, kernel) in kernels.iter().enumerate() {
        let name = match kernel.problems.first() {
            Some(problem) if *problem != kernel.label => format!("{} ({problem})", kernel.label),
            _ => kernel.label.clone(),
        };
        tell(&Line::Begins(name.clone()))?;
        let file = folder.map(|f| f.join(format!("{:02}-{}", i + 1, safe(&kernel.label))));
        match one(&device, kernel, file.as_deref()) {
            Ok(row) => tell(&Line::Row(Box::new(row)))?,
            // It would be so for all others.
            Err(error) if error.is::<Failure>() => {
                return tell(&Line::Usage(format!("{}: {error:#}", device.name)));
            }
            Err(error) => tell(&Line::Failed(format!("{name}: {error:#}")))?,
        }
    }
    Ok(())
}

fn kernels(device: &Device, files: &[PathBuf]) -> Result<Vec<Kernel>> {
    if files.is_empty() {
        return works::defaults(&device.target);
    }
    let each = files.iter().map(|path| works::file(path));
    Ok(each.collect::<Result<Vec<_>>>()?.concat())
}

/// Compiles a kernel; what there is of its texts stands beside `file`.
fn one(device: &Device, kernel: &Kernel, file: Option<&Path>) -> Result<Row> {
    let save = |ending: &str, bytes: &[u8]| match file {
        Some(file) => {
            let path = PathBuf::from(format!("{}.{ending}", file.display()));
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
        }
        None => Ok(()),
    };
    save("wgsl", kernel.source.as_bytes())?;
    let wgsl = Wgsl::parse(&kernel.source)?;
    let spirv = device.spirv(&wgsl, &kernel.entry)?;
    let bytes: Vec<u8> = spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
    save("spv", &bytes)?;
    let compiled = device.compile(&wgsl, &kernel.entry, &spirv)?;
    save("s", compiled.assembly.as_bytes())?;
    Ok(Row::of(kernel, &compiled, device.stores_count)?)
}

/// A label as part of a file's name.
fn safe(label: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    label
        .chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

/// Starts the process for a family and reads what it tells.
pub fn of(family: &str, files: &[PathBuf], folder: Option<&Path>) -> Result<Family> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("RADV_FORCE_FAMILY", family);
    // The time of the compiler is wanted, not that of a look into a cache.
    command.env("MESA_SHADER_CACHE_DISABLE", "true");
    command.arg("--compile").stdout(Stdio::piped());
    if let Some(folder) = folder {
        let own = folder.join(safe(family));
        std::fs::create_dir_all(&own)
            .with_context(|| format!("cannot make the folder {}", own.display()))?;
        command.arg("--asm").arg(own);
    }
    let mut child = command.arg("--").args(files).spawn()?;
    let out = child.stdout.take().context("the process has no output")?;
    let mut told = Told::default();
    for line in BufReader::new(out).lines() {
        told.hear(&line?);
    }
    let status = child.wait()?;
    told.end(family, status.success(), &status.to_string())
}

/// What a process has told so far.
#[derive(Default)]
struct Told {
    family: Family,
    opened: bool,
    refused: Option<Failure>,
    under_way: Option<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        // A driver may print to the same output.
        let Ok(line) = serde_json::from_str(line) else {
            eprintln!("{line}");
            return;
        };
        match line {
            Line::Device { device, driver } => {
                self.family.device = device;
                self.family.driver = driver;
                self.opened = true;
            }
            Line::NoRadv(why) => self.refused = Some(Failure::NoRadv(why)),
            Line::Usage(why) => self.refused = Some(Failure::Usage(why)),
            Line::Begins(name) => self.under_way = Some(name),
            Line::Row(row) => {
                self.family.rows.push(*row);
                self.under_way = None;
            }
            Line::Failed(why) => {
                self.family.failed.push(why);
                self.under_way = None;
            }
        }
    }

    fn end(mut self, family: &str, success: bool, status: &str) -> Result<Family> {
        if let Some(failure) = self.refused {
            bail!(failure);
        }
        if !self.opened {
            bail!(Failure::Usage(format!(
                "RADV opens no device of the family `{family}` ({status}): it is none that this \
                 Mesa knows; GFX1100, NAVI21, NAVI10, VEGA10 and POLARIS10 are some that Mesa 22.3 \
                 knows"
            )));
        }
        if let Some(name) = self.under_way {
            let why = format!("{name}: the driver's compiler ended the process ({status})");
            self.family.failed.push(why);
        } else if !success {
            bail!("the process for {family} ended early ({status})");
        }
        self.family.family = family.to_string();
        Ok(self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(line: &Line) -> String {
        serde_json::to_string(line).unwrap()
    }

    fn opened() -> String {
        line(&Line::Device {
            device: "D".to_string(),
            driver: "M".to_string(),
        })
    }

    fn told(lines: &[String], success: bool) -> Result<Family> {
        let mut told = Told::default();
        for line in lines {
            told.hear(line);
        }
        told.end("F", success, "signal 6")
    }

    fn code(family: Result<Family>) -> u8 {
        family.unwrap_err().downcast::<Failure>().unwrap().code()
    }

    #[test]
    fn a_process_that_ends_well_gives_its_device() {
        let family = told(&[opened(), "words of a driver".to_string()], true).unwrap();
        assert_eq!((family.family.as_str(), family.device.as_str()), ("F", "D"));
        assert!(family.failed.is_empty());
        assert!(told(&[opened()], false).is_err());
    }

    #[test]
    fn a_kernel_that_fails_or_ends_the_process_is_named() {
        let begins = line(&Line::Begins("k (p)".to_string()));
        let fails = line(&Line::Failed("k (p): why".to_string()));
        let family = told(&[opened(), begins.clone(), fails], true).unwrap();
        assert_eq!(family.failed, ["k (p): why"]);
        let family = told(&[opened(), begins], false).unwrap();
        assert!(family.failed[0].contains("k (p)") && family.failed[0].contains("signal 6"));
    }

    #[test]
    fn no_driver_no_family_and_no_kernel_have_codes_of_their_own() {
        let none = line(&Line::NoRadv("why".to_string()));
        assert_eq!(code(told(&[none], true)), 3);
        assert_eq!(code(told(&[], false)), 2);
        let no_kernel = line(&Line::Usage("why".to_string()));
        assert_eq!(code(told(&[opened(), no_kernel], true)), 2);
    }

    #[test]
    fn labels_become_names_of_files() {
        assert_eq!(safe("matmul_tiled+add"), "matmul_tiled+add");
        assert_eq!(safe("../a b"), ".._a_b");
    }
}
