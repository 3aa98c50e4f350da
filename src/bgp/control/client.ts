/** The other end of the control socket, for the command line and for tests. */
import { GodwitError, messageOf } from '../../base/mod.ts';

export class ControlClient {
  private readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async get<T>(path: string, parameters: Record<string, string | undefined> = {}): Promise<T> {
    return (await this.request('GET', path, parameters)).json() as Promise<T>;
  }

  async post<T>(path: string, body: unknown = {}): Promise<T> {
    return (await this.request('POST', path, {}, body)).json() as Promise<T>;
  }

  /** One value after another, as they come. */
  async *stream<T>(path: string, parameters: Record<string, string | undefined> = {}): AsyncGenerator<T> {
    const response = await this.request('GET', path, parameters);
    const decoder = new TextDecoder();
    let rest = '';
    const reader = response.body?.getReader();
    for (;;) {
      const chunk = await reader?.read().catch((error: unknown) => {
        throw new GodwitError('control', `the speaker at ${this.path} is gone: ${messageOf(error)}`);
      });
      if (!chunk || chunk.done) return;
      rest += decoder.decode(chunk.value, { stream: true });
      const complete = rest.split('\n');
      rest = complete.pop()!;
      for (const line of complete) yield JSON.parse(line) as T;
    }
  }

  /** Whether a speaker answers. */
  async alive(): Promise<boolean> {
    try {
      await this.get('/summary');
      return true;
    } catch {
      return false;
    }
  }

  private async request(
    method: string,
    path: string,
    parameters: Record<string, string | undefined>,
    body?: unknown,
  ): Promise<Response> {
    const query = new URLSearchParams();
    for (const [key, value] of Object.entries(parameters)) if (value !== undefined) query.set(key, value);
    let response: Response;
    try {
      response = await fetch(`http://localhost${path}?${query.toString()}`, {
        unix: this.path,
        timeout: false, // `monitor` waits for as long as nothing happens
        method,
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      throw new GodwitError('control', `no speaker answers at ${this.path}: ${messageOf(error)}`, {
        hint: 'Start it with `godwit bgp --config FILE`, or name its socket with --socket.',
      });
    }
    if (response.ok) return response;
    const { error, hint } = (await response.json()) as { error: string; hint?: string };
    throw new GodwitError('control', error, { hint: hint ?? '' });
  }
}
