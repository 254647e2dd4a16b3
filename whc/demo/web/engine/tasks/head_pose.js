/** Yaw, pitch and roll of a head in degrees, and their expected error: whc/tasks/head_pose/answers.py. */

import { fixed } from "../numbers.js";
import { BLUE_COLOUR, GREEN_COLOUR, reading, unsureIf } from "../showing.js";

const ANGLE_NAMES = ["yaw", "pitch", "roll"];
const AXIS_COLOURS = [[255, 80, 80], GREEN_COLOUR, BLUE_COLOUR]; // to the side, down, along the nose
const AXIS_LENGTH = 0.4; // as a share of the crop
const UNSURE_DEGREES = 15; // a pose is not sure from this expected error on

export class PoseAnswers {
  constructor(labels, config) {
    this.labels = labels;
    this.hasUncertainty = config.uncertainty;
    this.outputShape = [4];
  }

  checkOutput(output) {
    const wrong = output.slice(0, this.columns.length).find((value) => !(Math.abs(value) <= 360));
    return wrong === undefined ? "" : `must give angles within 360 degrees, got ${wrong}`;
  }

  get columns() {
    return this.hasUncertainty ? [...ANGLE_NAMES, "uncertainty"] : ANGLE_NAMES;
  }

  cells(output) {
    return this.columns.map((_, i) => fixed(output[i], 2));
  }

  reading(output) {
    const title = ANGLE_NAMES.map((name, i) => `${name} ${fixed(output[i], 0)}`).join(" ");
    const uncertainty = this.hasUncertainty ? ` (+-${fixed(output[3], 0)})` : "";
    const certain = reading(title + uncertainty, GREEN_COLOUR, { lines: axisLines(output) });
    return unsureIf(this.hasUncertainty && output[3] >= UNSURE_DEGREES, certain);
  }
}

/** A head's axes from the middle of its crop; the rotation is that of whc/tasks/head_pose/angles.py. */
function axisLines(degrees) {
  const [yaw, pitch, roll] = [...degrees].slice(0, 3).map((angle) => (angle * Math.PI) / 180);
  const [sinYaw, cosYaw, sinPitch] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch)];
  const [cosPitch, sinRoll, cosRoll] = [Math.cos(pitch), Math.sin(roll), Math.cos(roll)];
  const ends = [
    [cosYaw * cosRoll, cosPitch * sinRoll - sinPitch * sinYaw * cosRoll],
    [-cosYaw * sinRoll, cosPitch * cosRoll + sinPitch * sinYaw * sinRoll],
    [-sinYaw, -sinPitch * cosYaw],
  ];
  return ends.map(([x, y], i) => ({
    start: [0.5, 0.5],
    end: [0.5 + AXIS_LENGTH * x, 0.5 + AXIS_LENGTH * y],
    colour: AXIS_COLOURS[i],
  }));
}
