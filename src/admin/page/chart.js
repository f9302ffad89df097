
// Charts of five minutes: plain SVG, the newest step at the right edge.

const SVG = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT, SPAN] = [300, 64, 300];

// The lowest of 1, 2, 5, 10, 20 … that nothing exceeds.
function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= most) ?? 10 * power;
}

class Chart {
  constructor(figure, title, second) {
    Object.assign(this, { title, second, at: null, list: [], others: [], step: 1 });
    const shape = (name, label, attributes = {}) => {
      const made = document.createElementNS(SVG, name);
      made.setAttribute('class', label);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      return made;
    };
    this.area = shape('path', 'area');
    this.line = shape('path', 'line');
    this.other = shape('path', 'second');
    this.hair = shape('line', 'hair', { y1: 0, y2: HEIGHT, visibility: 'hidden' });
    this.svg = shape('svg', '', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
    const grid = [0.5, HEIGHT / 2, HEIGHT - 0.5].map(y => shape('line', 'grid', { x1: 0, x2: WIDTH, y1: y, y2: y }));
    this.svg.append(...grid, this.area, this.line, this.other, this.hair);
    this.now = element('p', 'now');
    this.key = element('span', 'key');
    this.scale = element('span', 'scale');
    this.when = element('span', '');
    const axis = element('p', 'axis', element('span', '', '5 min ago'), this.when);
    figure.replaceChildren(
      element('figcaption', '', element('b', '', title), this.key), this.now,
      element('div', 'plot', this.svg, this.scale), axis,
    );
    this.svg.addEventListener('pointermove', event => {
      const box = this.svg.getBoundingClientRect();
      this.at = Math.round(((box.right - event.clientX) / box.width) * (SPAN / this.step));
      this.read();
    });
    this.svg.addEventListener('pointerleave', () => { this.at = null; this.read(); });
  }

  show(list, step, others = []) {
    Object.assign(this, { list, others, step });
    const top = ceiling(Math.max(0, ...list, ...others));
    const place = list => list.map((value, index) => [WIDTH - ((list.length - 1 - index) * step * WIDTH) / SPAN, HEIGHT - (value / top) * (HEIGHT - 1)]);
    const path = list => place(list).map(([x, y], index) => `${index ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
    const line = path(list);
    const start = list.length ? place(list)[0][0].toFixed(1) : WIDTH;
    this.line.setAttribute('d', line);
    this.area.setAttribute('d', line && `${line}L${WIDTH} ${HEIGHT}L${start} ${HEIGHT}Z`);
    this.other.setAttribute('d', others.some(value => value > 0) ? path(others) : '');
    set(this.scale, `${count(top)}/s`);
    const failed = sum(others, step);
    set(this.key, failed > 0.5 ? `╌ ${count(failed)} ${this.second}` : `${count(sum(list, step))} in 5 min`);
    this.key.classList.toggle('failing', failed > 0.5);
    this.svg.setAttribute('aria-label', `${this.title} a second over the last five minutes: ${rate(list.at(-1) ?? 0)} now, ${rate(Math.max(0, ...list))} at most.`);
    this.read();
  }

  // The number now, or under the pointer.
  read() {
    const [last, at] = [this.list.length - 1, this.at];
    const index = at === null ? last : Math.max(0, Math.min(last, last - at));
    const value = this.list[index];
    const unit = element('small', '', ' per second');
    this.now.replaceChildren(value === undefined ? '—' : rate(value), unit);
    set(this.when, at === null || last < 0 ? 'now' : `${span((last - index) * this.step)} ago`);
    this.hair.setAttribute('visibility', at === null || last < 0 ? 'hidden' : 'visible');
    const x = WIDTH - ((last - index) * this.step * WIDTH) / SPAN;
    this.hair.setAttribute('x1', x);
    this.hair.setAttribute('x2', x);
  }
}

// Text is text: nothing here, and nothing above, makes markup of it.
function element(name, label, ...children) {
  const made = document.createElement(name);
  if (label) made.className = label;
  made.append(...children);
  return made;
}

// What has not changed is left alone, so that it can be selected and is not read out again.
function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
