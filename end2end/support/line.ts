// The line between a page and the server's `/live`, which a test can cut, block, let die, and mend.

import type { Page, WebSocketRoute } from '@playwright/test';
import type { Person } from './company';
import type { Screen } from './screen';
import type { Open } from './test';

type Fault = 'none' | 'blocked' | 'cut';

export class Line {
  /** How often the page has tried to connect. */
  attempts = 0;
  /** How many questions the page has asked without a socket. */
  questions = 0;
  private fault: Fault = 'none';
  private readonly ends: WebSocketRoute[] = [];

  /** To be called before the page is opened. */
  static async of(page: Page, fault: Fault = 'none'): Promise<Line> {
    const line = new Line();
    line.fault = fault;
    await page.routeWebSocket(/\/live$/, (socket) => line.connect(socket));
    await page.route('**/live', async (route) => {
      line.questions += 1;
      // A question that is swallowed has no answer, not even a refusal.
      if (line.fault !== 'cut') await route.continue();
    });
    return line;
  }

  private connect(socket: WebSocketRoute): void {
    this.attempts += 1;
    if (this.fault !== 'none') {
      void socket.close();
      return;
    }
    this.ends.push(socket, socket.connectToServer());
  }

  /** Ends the connection, and lets no other be made, and no question through. */
  async cut(): Promise<void> {
    await this.end('cut');
  }

  /** Ends the connection, and lets no other be made; HTTP gets through. */
  async block(): Promise<void> {
    await this.end('blocked');
  }

  private async end(fault: Fault): Promise<void> {
    this.fault = fault;
    await Promise.all(this.ends.splice(0).map((end) => end.close()));
  }

  /** The present connection passes nothing on any more, and neither end is told. */
  die(): void {
    for (const end of this.ends.splice(0)) {
      end.onMessage(() => {});
      end.onClose(() => {});
    }
  }

  mend(): void {
    this.fault = 'none';
  }
}

interface OnLine {
  fault?: Fault;
  /** What else is to be set up before the page is asked for. */
  before?: (page: Page) => Promise<void>;
}

/** Opens an address over a line that the test has in its hands. */
export async function openOnLine(open: Open, person: Person, path: string, on: OnLine = {}): Promise<{ screen: Screen; line: Line }> {
  let line = new Line();
  const before = async (page: Page): Promise<void> => {
    line = await Line.of(page, on.fault);
    await on.before?.(page);
  };
  return { screen: await open(person, path, { before }), line };
}
