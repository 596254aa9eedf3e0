// Decides, window by window, whether something was heard: samplecnn.listening.detector with its default rules, or
// those of the model's operating point.

const RULES = { smooth: 3, background_odds: 1, refractory: 0.5, hysteresis: 0.7, settle: 0.2, near: 0.6 };
const isRejection = name => name.length > 2 && name.startsWith("_") && name.endsWith("_");

export class Detector {
  // `model`: classes, kind, seconds of a window, rules (`listening`); `thresholds` [classes] may be replaced at any time; `hop`: seconds.
  constructor(model, thresholds, hop) {
    this.classes = model.classes;
    this.rules = { ...RULES, ...model.listening };
    const background = model.kind === "multiclass" ? model.classes.indexOf("_background_") : -1;
    this.odds = model.classes.map((name, i) => (i === background ? this.rules.background_odds : 1));
    this.thresholds = thresholds;
    this.hop = hop;
    this.seconds = model.window / model.sample_rate;
    const audible = model.classes.map((name, i) => i).filter(i => !isRejection(model.classes[i]));
    this.groups = (model.kind === "multiclass" ? [audible] : audible.map(i => [i])).map(members => ({
      members, tail: false, candidate: null, active: null, near: null, rests: -Infinity,
    }));
    this.recent = [];
  }

  // Takes the scores of a window that ends at `time`; returns [{ type, label, score, threshold, time, start, end }].
  step(scores, time) {
    this.recent.push(this.corrected(scores));
    if (this.recent.length > this.rules.smooth) this.recent.shift();
    this.averaged = Float64Array.from(scores, (_, i) =>
      this.recent.reduce((sum, each) => sum + each[i], 0) / this.recent.length);
    return this.groups.flatMap(group => this.decide(group, this.averaged, time));
  }

  // Probabilities with the odds that background has in a stream.
  corrected(scores) {
    if (this.odds.every(odds => odds === 1)) return scores;
    const weighted = Float64Array.from(scores, (score, i) => score * this.odds[i]);
    const sum = weighted.reduce((a, b) => a + b, 0);
    return weighted.map(score => score / Math.max(sum, 1e-300));
  }

  finish(time) {
    return this.groups.flatMap(group => {
      const heard = group.candidate === null ? [] : [this.fire(group, time)];
      return group.active === null ? heard : [...heard, this.end(group, time)];
    });
  }

  decide(group, values, time) {
    const heard = [];
    if (group.active !== null) {
      if (values[group.active] > this.rules.hysteresis * this.thresholds[group.active]) {
        group.score = Math.max(group.score, values[group.active]);
        group.last = time;
        return [];
      }
      heard.push(this.end(group, time));
    }
    if (time < group.rests) return heard;
    const margin = i => values[i] - this.thresholds[i];
    const best = group.members.reduce((one, other) => (margin(other) > margin(one) ? other : one));
    if (margin(best) > 0) {
      if (group.candidate === null) group.first = time;
      const rising = group.candidate === null || margin(best) > group.margin;
      if (rising) Object.assign(group, { candidate: best, margin: margin(best), score: values[best], peak: time });
      if (!rising || time - group.first >= this.rules.settle - 1e-9) heard.push(this.fire(group, time));
    } else if (group.candidate !== null) {
      heard.push(this.fire(group, time));
    } else {
      heard.push(...this.nearMiss(group, values, time));
    }
    return heard;
  }

  fire(group, time) {
    const label = group.candidate, span = this.span(group.peak);
    const { first, score } = group;
    Object.assign(group, {
      active: label, since: first, last: time, rests: time + this.rules.refractory, candidate: null, near: null, tail: true,
    });
    return this.heard("event", label, score, time, ...span);
  }

  end(group, time) {
    const label = group.active;
    group.active = null;
    return this.heard("end", label, group.score, time, group.since, group.last);
  }

  nearMiss(group, values, time) {
    const share = i => values[i] / Math.max(this.thresholds[i], 1e-9);
    const best = group.members.reduce((one, other) => (share(other) > share(one) ? other : one));
    if (share(best) > this.rules.near) {
      if (!group.tail && (group.near === null || values[best] > group.nearScore)) {
        Object.assign(group, { near: best, nearScore: values[best], nearTime: time });
      }
      return [];
    }
    group.tail = false;
    if (group.near === null) return [];
    const label = group.near;
    group.near = null;
    return [this.heard("near", label, group.nearScore, time, ...this.span(group.nearTime))];
  }

  heard(type, label, score, time, start, end) {
    return { type, label: this.classes[label], score, threshold: this.thresholds[label], time, start, end };
  }

  // The sound that the average at `time` was computed from.
  span(time) {
    return [Math.max(time - this.seconds - (this.recent.length - 1) * this.hop, 0), time];
  }
}
