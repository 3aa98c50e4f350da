/** The versions of the CNI specification this plugin speaks. Imported by the thin executable: no imports. */
export const versions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof versions)[number];
export const latestVersion: CniVersion = '1.1.0';

export const isVersion = (text: unknown): text is CniVersion => versions.some((version) => version === text);

/** The version an answer is written in: the caller's, or our latest when that is not one of ours. */
export const answerVersion = (asked: unknown): CniVersion => (isVersion(asked) ? asked : latestVersion);

export const isAtLeast = (version: CniVersion, least: CniVersion): boolean =>
  versions.indexOf(version) >= versions.indexOf(least);

export const formatVersions = (asked: unknown): string =>
  `${JSON.stringify({ cniVersion: answerVersion(asked), supportedVersions: versions })}\n`;
