'use strict';

// Bundles through the client that is published on npm: node published-assets.cjs URL FIRST.zip SECOND.zip

const fs = require('fs');
const createClient = require('teraslice-client-js');
const { step } = require('./steps.cjs');

async function main() {
    const [url, first, second] = process.argv.slice(2);
    const client = createClient({ host: url });
    const upload = (body) => client.assets.post(body, true);

    const uploaded = await step('upload', () => upload(fs.readFileSync(first)));
    await step('upload again', () => upload(fs.readFileSync(first)));
    const streamed = await step('upload a stream', () => upload(fs.createReadStream(second)));
    await step('upload nothing', () => upload(Buffer.alloc(0)));
    await step('upload no zip', () => upload(Buffer.from('no zip at all')));
    await step('list', () => client.assets.get('/assets'));
    await step('list by name', () => client.assets.get('/assets/published-bundle'));
    await step('list by version', () => client.assets.get('/assets/published-bundle/1.0.0'));
    await step('list the unknown', () => client.assets.get('/assets/no-such-bundle'));
    await step('txt', () => client.cluster.txt('assets'));
    await step('txt by name', () => client.cluster.txt('assets/published-bundle'));
    await step('delete', () => client.assets.delete(uploaded.asset_id, true));
    await step('delete again', () => client.assets.delete(uploaded.asset_id, true));
    await step('delete what is no id', () => client.assets.delete('abc', true));
    await step('delete the other', () => client.assets.delete(streamed.asset_id, true));
}

main();
