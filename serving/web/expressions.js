// Names of what a model's expression vector holds, and the emotions as action units.

export const ACTION_UNITS = {
  AU01: ["eyes", "Inner brow raiser", "worried brows"],
  AU02: ["eyes", "Outer brow raiser", "arched brows"],
  AU04: ["eyes", "Brow lowerer", "frown"],
  AU05: ["eyes", "Upper lid raiser", "wide eyes"],
  AU06: ["eyes", "Cheek raiser", "smiling eyes"],
  AU07: ["eyes", "Lid tightener", "squint"],
  AU45: ["eyes", "Blink", "closed eyes"],
  AU09: ["nose", "Nose wrinkler", "disgust"],
  AU10: ["mouth", "Upper lip raiser", "sneer"],
  AU12: ["mouth", "Lip corner puller", "smile"],
  AU14: ["mouth", "Dimpler", "smirk"],
  AU15: ["mouth", "Lip corner depressor", "sad mouth"],
  AU17: ["mouth", "Chin raiser", "pout"],
  AU20: ["mouth", "Lip stretcher", "tense mouth"],
  AU23: ["mouth", "Lip tightener", "thin lips"],
  AU25: ["mouth", "Lips part", "open lips"],
  AU26: ["mouth", "Jaw drop", "open mouth"],
};

export const EMOTIONS = {
  neutral: {},
  happy: { AU06: 3, AU12: 4, AU25: 2 },
  sad: { AU01: 3.5, AU04: 2.5, AU15: 3.5, AU17: 1.5 },
  surprised: { AU01: 4, AU02: 4, AU05: 3.5, AU25: 2.5, AU26: 4 },
  fearful: { AU01: 4, AU02: 2, AU04: 2.5, AU05: 4, AU20: 3, AU25: 2, AU26: 1.5 },
  disgusted: { AU09: 4, AU10: 2.5, AU15: 1.5, AU17: 2 },
  angry: { AU04: 4.5, AU05: 2, AU07: 3.5, AU23: 3.5 },
  contemptuous: { AU12: 1.5, AU14: 4 },
};

export const GROUPS = { eyes: "Eyes and brows", nose: "Nose", mouth: "Mouth and chin", other: "Expression" };

// Values by label for every preset that the space can show; each label is a preset of a one-hot space.
export function presets(space) {
  if (space.one_hot) {
    return Object.fromEntries(space.labels.map((one) => [one, { [one]: space.high * space.scale }]));
  }
  const known = Object.entries(EMOTIONS).filter(([, units]) => Object.keys(units).every((unit) => space.labels.includes(unit)));
  return space.labels.some((label) => label in ACTION_UNITS) ? Object.fromEntries(known) : {};
}
