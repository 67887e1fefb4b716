// Bundles by the requests of the newest client: node current-assets.mjs URL FIRST.zip SECOND.zip

import fs from 'fs';
import { ask, get, table } from './http.mjs';
import steps from './steps.cjs';

const { step } = steps;
const [first, second] = process.argv.slice(3);
const upload = (body, searchParams) => ask('POST', 'assets', { body, searchParams });

const { asset_id: assetId } = await step('upload', () => upload(fs.readFileSync(first), { blocking: true }));
await step('upload again', () => upload(fs.readFileSync(first)));
const streamed = await step('upload a stream', () => upload(fs.createReadStream(second)));
await step('upload no zip', () => upload(Buffer.from('no zip at all'), { blocking: true }));
await step('list', () => get('assets', { size: 10, from: 0, sort: '_created:asc' }));
await step('list by name', () => get('assets/current-bundle'));
await step('list by version', () => get('assets/current-bundle/1.0.0'));
await step('list the unknown', () => get('assets/no-such-bundle'));
await step('txt', () => table('assets'));
await step('txt by name', () => table('assets/current-bundle'));
await step('delete', () => ask('DELETE', `assets/${assetId}`));
await step('delete again', () => ask('DELETE', `assets/${assetId}`));
await step('delete what is no id', () => ask('DELETE', 'assets/abc'));
await step('delete the other', () => ask('DELETE', `assets/${streamed.asset_id}`));
