/** Decisions smoothed over time: whc/tasks/smoothing.py, which describes the law. */

const TOLERANCE_S = 1e-6; // sums of times are rounded

/** Least probability for the vote of a label, in float32 as Python compares; `wasCalled` is undefined at the first. */
export function border(threshold, hysteresis, wasCalled) {
  if (wasCalled === undefined) return Math.fround(threshold);
  if (wasCalled) return Math.fround(Math.max(threshold - hysteresis, threshold / 2));
  return Math.fround(Math.min(threshold + hysteresis, (threshold + 1) / 2));
}

/** The state of one question; `option` is null before the first. */
class Question {
  option = null;
  #runs = []; // of equal votes: from, to, which

  /** Add the vote of the next frame. */
  vote(option, seconds, { short_s: shortS, long_s: longS }) {
    let begin = this.#runs.at(-1)?.[1] ?? seconds;
    if (this.#runs.at(-1)?.[2] === option) [begin] = this.#runs.pop();
    this.#runs.push([begin, seconds, option]);
    const earliest = seconds - longS;
    while (this.#runs[0][1] < earliest) this.#runs.shift();
    const isUnanimous = seconds - begin >= shortS - TOLERANCE_S;
    const standsFor = this.#runs
      .filter(([, , voted]) => voted === option)
      .reduce((sum, [start, end]) => sum + end - Math.max(start, earliest), 0);
    if (isUnanimous && standsFor >= longS / 2 - TOLERANCE_S) this.option = option;
  }
}

/** The state of one person, as outputs come in; `state` has an option for each question, null before the first. */
export class Smoother {
  #answers;
  #questions;
  #votes = [];
  state = null;

  constructor(answers) {
    this.#answers = answers;
  }

  /** Add the output for the next frame. */
  add(output, seconds) {
    const { smoothing } = this.#answers;
    this.#votes = this.#answers.votes(output, smoothing.hysteresis, this.#votes);
    this.#questions ??= this.#votes.map(() => new Question());
    this.#questions.forEach((question, i) => question.vote(this.#votes[i], seconds, smoothing));
    const options = this.#questions.map(({ option }) => option);
    if (!options.includes(null)) this.state = options;
  }
}
