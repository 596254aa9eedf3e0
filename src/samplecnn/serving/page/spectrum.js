// Fourier transform and spectrogram.

// Fourier transform of `re` + i `im` (a power of two long), in place.
export function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const half = size >> 1;
    for (let k = 0; k < half; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const c = Math.cos(angle), s = Math.sin(angle);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const x = re[j] * c - im[j] * s, y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

const windows = new Map();

function hann(size) {
  if (!windows.has(size)) {
    windows.set(size, Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size)));
  }
  return windows.get(size);
}

// Power in dB at `columns` points of time, lowest frequency first: { values [columns * bands], bands, top }.
export function spectrogram(samples, rate, columns) {
  let size = 64;
  while (size < rate * 0.025) size *= 2;
  const window = hann(size), bands = size / 2;
  const values = new Float32Array(columns * bands);
  const re = new Float32Array(size), im = new Float32Array(size);
  let top = -Infinity;
  for (let column = 0; column < columns; column++) {
    const centre = Math.round(((column + 0.5) / columns) * samples.length);
    for (let i = 0; i < size; i++) re[i] = (samples[centre - bands + i] || 0) * window[i];
    im.fill(0);
    fft(re, im);
    for (let band = 0; band < bands; band++) {
      const value = 10 * Math.log10(re[band] ** 2 + im[band] ** 2 + 1e-12);
      values[column * bands + band] = value;
      if (value > top) top = value;
    }
  }
  return { values, bands, top };
}
