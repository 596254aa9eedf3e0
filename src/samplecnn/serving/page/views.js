// The lists of the page: tags with their thresholds, and events.

import { NEAR } from "./events.js";
import { clock } from "./timeline.js";

export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const figure = (score, digits = 2) => score.toFixed(digits);

// Classes with a bar for the score and a tick for the threshold; a class that came close says by how much it missed.
export function showTags(list, classes, scores, thresholds, count) {
  const order = [...scores.keys()].sort((one, other) => scores[other] - scores[one]).slice(0, count);
  const items = order.map(index => {
    const score = scores[index], threshold = thresholds[index];
    const kind = score > threshold ? "above" : score > NEAR * threshold ? "near" : "below";
    const text = kind === "near" ? `${figure(score)} < ${figure(threshold)}` : figure(score);
    const bar = make("span", { className: "bar" }, make("span", { className: "fill" }), make("span", { className: "tick" }));
    bar.setAttribute("aria-hidden", "true");
    bar.firstChild.style.width = `${100 * score}%`;
    bar.lastChild.style.left = `${100 * threshold}%`;
    const said = { above: ", above its threshold", near: ", a near miss", below: "" }[kind];
    return make("li", { className: kind },
      make("span", { className: "label", textContent: classes[index], title: classes[index] }),
      bar,
      make("span", { className: "score" }, text, make("span", { className: "unseen", textContent: said })));
  });
  list.replaceChildren(...items);
}

const MOST_EVENTS = 200;

// Events as buttons that lead to them, and near misses between them.
export function showEvents(list, none, events, follow, empty = "No class rises above its threshold.") {
  none.hidden = events.length > 0;
  none.textContent = empty;
  const items = events.slice(0, MOST_EVENTS).map(event => {
    const times = event.end - event.start < 0.05 ? clock(event.start) : `${clock(event.start)} – ${clock(event.end)}`;
    const score = event.near ? `${figure(event.score)} < ${figure(event.threshold)}` : figure(event.score);
    const cells = [
      make("span", { className: "times", textContent: times }),
      make("span", { className: "label", textContent: event.label }),
      make("span", { className: "score" }, score, make("span", { className: "unseen", textContent: event.near ? ", a near miss" : "" })),
    ];
    const row = follow ? make("button", { onclick: () => follow(event) }, ...cells) : make("div", {}, ...cells);
    return make("li", { className: event.near ? "near" : "event" }, row);
  });
  if (events.length > MOST_EVENTS) {
    const more = (events.length - MOST_EVENTS).toLocaleString("en");
    items.push(make("li", { className: "muted", textContent: `and ${more} more, which the downloads have` }));
  }
  list.replaceChildren(...items);
}

// `groups`: [[title, [[format, name]]]]; `save(format)`.
export function showDownloads(box, groups, save) {
  box.replaceChildren(...groups.map(([title, formats]) => {
    const buttons = formats.map(([format, name]) => make("button", { textContent: name, onclick: () => save(format) }));
    buttons.forEach((button, i) => (button.dataset.format = formats[i][0]));
    return make("div", { className: "formats" }, make("h4", { textContent: title }), ...buttons);
  }));
}

export function saveBlob(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
