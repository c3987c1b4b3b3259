// The line between a page and the server's `/live`, which a test can cut and mend.

import type { Page, WebSocketRoute } from '@playwright/test';

export class Line {
  /** How often the page has tried to connect. */
  attempts = 0;
  private isCut = false;
  private readonly ends: WebSocketRoute[] = [];

  /** To be called before the page is opened. */
  static async of(page: Page): Promise<Line> {
    const line = new Line();
    await page.routeWebSocket(/\/live$/, (socket) => line.connect(socket));
    return line;
  }

  private connect(socket: WebSocketRoute): void {
    this.attempts += 1;
    if (this.isCut) {
      void socket.close();
      return;
    }
    this.ends.push(socket, socket.connectToServer());
  }

  /** Ends the connection, and lets no other be made. */
  async cut(): Promise<void> {
    this.isCut = true;
    await Promise.all(this.ends.splice(0).map((end) => end.close()));
  }

  mend(): void {
    this.isCut = false;
  }
}
