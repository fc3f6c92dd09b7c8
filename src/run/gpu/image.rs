//! Images of buffers on the device (`graph::image`): made with a program, filled
//! by the host or by copies of what a step computed.

use super::device::Inner;
use super::program::Place;
use crate::graph::image::{self, TEXEL, WIDTH};

/// The format of images: four floats a texel.
pub(super) const IMAGE: wgpu::TextureFormat = wgpu::TextureFormat::Rgba32Float;

/// The image of a buffer, or of a part of one.
pub(super) struct Image {
    texture: wgpu::Texture,
    pub view: wgpu::TextureView,
    /// Where the part starts, in bytes: a whole number of texels.
    offset: u64,
}

/// Bytes of a row that carry values.
const ROW: u64 = TEXEL * WIDTH as u64;

impl Image {
    /// An image for a buffer of this many bytes.
    pub fn new(inner: &Inner, label: &str, bytes: u64) -> Image {
        let [width, height] = image::size(bytes);
        let usage = wgpu::TextureUsages::COPY_DST | wgpu::TextureUsages::STORAGE_BINDING;
        let texture = inner.device.create_texture(&wgpu::TextureDescriptor {
            label: Some(label),
            size: wgpu::Extent3d {
                width,
                height,
                depth_or_array_layers: 1,
            },
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: IMAGE,
            usage,
            view_formats: &[],
        });
        let view = texture.create_view(&Default::default());
        let offset = 0;
        Image {
            texture,
            view,
            offset,
        }
    }

    /// What belongs to the part of the buffer from this byte on.
    pub fn part(&self, offset: u64) -> Image {
        Image {
            texture: self.texture.clone(),
            view: self.view.clone(),
            offset: self.offset + offset,
        }
    }

    /// The image from the texel on where this byte is.
    fn at(&self, byte: u64) -> wgpu::TexelCopyTextureInfo<'_> {
        let origin = wgpu::Origin3d {
            x: (byte % ROW / TEXEL) as u32,
            y: (byte / ROW) as u32,
            z: 0,
        };
        wgpu::TexelCopyTextureInfo {
            origin,
            ..self.texture.as_image_copy()
        }
    }

    /// Fills it with what the host gives.
    pub fn write(&self, inner: &Inner, data: &[f32]) {
        // A texel that the values fill in part is written by itself.
        let (whole, rest) = data.split_at(data.len() / 4 * 4);
        self.write_at(inner, self.offset, bytemuck::cast_slice(whole));
        if !rest.is_empty() {
            let mut last = [0.0f32; 4];
            last[..rest.len()].copy_from_slice(rest);
            let done = 4 * whole.len() as u64;
            self.write_at(inner, self.offset + done, bytemuck::cast_slice(&last));
        }
    }

    /// Writes whole texels from the one on where this byte is.
    fn write_at(&self, inner: &Inner, first: u64, bytes: &[u8]) {
        for (start, layout, size) in parts(first, bytes.len() as u64) {
            let from = &bytes[start as usize..];
            let to = self.at(first + start);
            inner.queue.write_texture(to, from, layout, size);
        }
    }

    /// Has it filled with what the buffer holds by then.
    pub fn copy(&self, encoder: &mut wgpu::CommandEncoder, from: &Place) {
        for (start, layout, size) in parts(self.offset, from.bytes) {
            let to = self.at(self.offset + start);
            let from = wgpu::TexelCopyBufferInfo {
                buffer: &from.buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: from.offset + start,
                    ..layout
                },
            };
            encoder.copy_buffer_to_texture(from, to, size);
        }
    }
}

/// So many bytes from `offset` on, cut into rectangles: what is left of a row, whole
/// rows, what is left of the bytes. For each the byte where it starts (counted
/// from `offset`), how it lies and its size.
fn parts(
    offset: u64,
    bytes: u64,
) -> impl Iterator<Item = (u64, wgpu::TexelCopyBufferLayout, wgpu::Extent3d)> {
    let head = match offset % ROW {
        0 => 0,
        begun => (ROW - begun).min(bytes),
    };
    let rows = (bytes - head) / ROW;
    let part = |start: u64, width: u64, height: u64| {
        let layout = wgpu::TexelCopyBufferLayout {
            offset: 0,
            bytes_per_row: Some(ROW as u32),
            rows_per_image: None,
        };
        let size = wgpu::Extent3d {
            width: (width / TEXEL) as u32,
            height: height as u32,
            depth_or_array_layers: 1,
        };
        (width * height > 0).then_some((start, layout, size))
    };
    let done = head + rows * ROW;
    let all = [
        part(0, head, 1),
        part(head, ROW, rows),
        part(done, bytes - done, 1),
    ];
    all.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every texel of a stretch is in one rectangle, at its place in the image.
    #[test]
    fn parts_cover_a_stretch_once() {
        let width = u64::from(WIDTH);
        for offset in [0, 1, 16, 500, 511, 512, 700, 1024, 1500] {
            for texels in [0, 1, 3, 12, 511, 512, 513, 1024, 1100, 2048] {
                let mut seen = Vec::new();
                for (start, _, size) in parts(offset * TEXEL, texels * TEXEL) {
                    let first = start / TEXEL;
                    let x = (offset + first) % width;
                    assert!(x + u64::from(size.width) <= width);
                    assert!(size.height == 1 || (x, size.width) == (0, WIDTH));
                    let count = u64::from(size.width) * u64::from(size.height);
                    seen.extend(first..first + count);
                }
                assert_eq!(seen, (0..texels).collect::<Vec<_>>(), "{offset} {texels}");
            }
        }
    }
}
