// Scenario files are imported as text, so that the built executable holds them too.
declare module '*.yaml' {
  const text: string;
  export default text;
}
