// Events and near misses from the scores of windows, as samplecnn.tagging.events finds them.

const REJECTIONS = new Set(["_background_", "_unknown_"]); // none of the other classes: never an event
export const isRejection = label => REJECTIONS.has(label);
export const NEAR = 0.6; // share of the threshold above which a class counts as a near miss

// Bounds of the time that each window's score applies to: midway between the windows' centres.
export function windowBounds(windows) {
  const centres = windows.map(({ start, end }) => (start + end) / 2);
  const between = centres.slice(1).map((centre, i) => (centres[i] + centre) / 2);
  return [windows[0].start, ...between, windows[windows.length - 1].end];
}

export const SMOOTH = 3; // windows whose mean counts, where windows overlap by more than half

export const smoothing = windows => (windows.length > 1 && windows[1].start < (windows[0].start + windows[0].end) / 2 ? SMOOTH : 1);

// Windows with the mean of their neighbours' scores; the first and the last are repeated at the ends.
export function smoothed(windows, width) {
  if (width === 1) return windows;
  const last = windows.length - 1, half = width >> 1;
  return windows.map((window, i) => {
    const scores = new Float64Array(window.scores.length);
    for (let at = i - half; at <= i + half; at++) {
      const other = windows[Math.max(0, Math.min(last, at))].scores;
      for (let index = 0; index < scores.length; index++) scores[index] += other[index] / width;
    }
    return { ...window, scores };
  });
}

// `windows`: [{ start, end, scores }]; -> [{ start, end, label, score, threshold, near }], sorted by start. An event lies
// above the threshold of its class; a near miss comes above 0.6 of it without reaching it.
export function findEvents(windows, classes, thresholds) {
  if (windows.length === 0) return [];
  const bounds = windowBounds(windows), found = [];
  classes.forEach((label, index) => {
    if (isRejection(label)) return;
    const high = thresholds[index], low = NEAR * high;
    const spans = limit => {
      const all = [];
      windows.forEach(({ scores }, i) => {
        if (!(scores[index] > limit)) return;
        const last = all[all.length - 1];
        if (last && last.to === i) {
          last.to = i + 1;
          last.score = Math.max(last.score, scores[index]);
        } else {
          all.push({ from: i, to: i + 1, score: scores[index] });
        }
      });
      return all;
    };
    const event = (span, near) => ({
      start: bounds[span.from], end: bounds[span.to], label, score: span.score, threshold: high, near,
    });
    found.push(...spans(high).map(span => event(span, false)));
    found.push(...spans(low).filter(span => !(span.score > high)).map(span => event(span, true)));
  });
  return found.sort((one, other) => one.start - other.start);
}
