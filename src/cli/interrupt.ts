/** Ctrl-C: the program ends with status 130, unless a command has something to finish first. */

let handler: (() => void) | undefined;

function interrupted(): void {
  const act = handler;
  handler = undefined;
  // A second one does not wait. Exiting runs the handlers that remove half-written outputs.
  if (act === undefined) process.exit(130);
  act();
}

export function watchInterrupts(): void {
  process.on('SIGINT', interrupted);
  process.on('SIGTERM', interrupted);
}

/** `act` is called once in place of the program's end. Returns a function that undoes this. */
export function onInterrupt(act: () => void): () => void {
  handler = act;
  return () => {
    if (handler === act) handler = undefined;
  };
}
