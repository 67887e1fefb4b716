'use strict';

// A whole life of jobs through the client that is published on npm: node published.cjs URL ZIP-OF-A-BUNDLE

const fs = require('fs');
const createClient = require('teraslice-client-js');
const { step, until, endless, failing, short } = require('./steps.cjs');

async function readCluster(client) {
    await step('info', () => client.cluster.get('/'));
    await step('state', () => client.cluster.state());
    await step('stats', () => client.cluster.stats());
    await step('slicers, idle', () => client.cluster.slicers());
    for (const table of ['slicers', 'ex', 'jobs', 'nodes', 'workers']) {
        await step(`txt ${table}`, () => client.cluster.txt(table));
    }
    await step('txt of nothing', () => client.cluster.txt('nothing'));
}

async function liveOneJob(client) {
    const posted = endless('published');
    const job = await step('submit', () => client.jobs.submit(posted, true));
    const reached = (status) => job.waitForStatus(status, 50, 30000);
    await step('ex before any start', () => job.ex());
    await step('start', () => job.start());
    await step('start again', () => job.start());
    await step('wait for running', () => reached('running'));
    await step('spec', async () => ({ posted, spec: await job.spec() }));
    await step('ex', async () => ({ id: job.id(), exId: await job.ex() }));
    await step('list running', () => client.jobs.list('running'));
    await step('list all', () => client.jobs.list());
    await step('list by options', () => client.jobs.list({ status: 'running', size: 1 }));
    await step('slicer', () => until('a slice is processed', () => job.slicer(), (found) => found[0].processed > 0));
    await step('slicers', () => client.cluster.slicers());
    await step('add workers', () => job.changeWorkers('add', 2));
    await step('three workers', () => until('3 workers', () => job.workers(), (found) => found.length === 3));
    await step('remove workers', () => job.changeWorkers('remove', 2));
    await step('one worker', () => until('1 worker', () => job.workers(), (found) => found.length === 1));
    await step('two in total', () => job.changeWorkers('total', 2));
    await step('two workers', () => until('2 workers', () => job.workers(), (found) => found.length === 2));
    await step('no number of workers', () => job.changeWorkers('add', 'many'));
    await step('pause', () => job.pause());
    await step('status, paused', () => job.status());
    await step('resume', () => job.resume());
    await step('status, resumed', () => job.status());
    await step('delete while it runs', () => client.jobs.delete(`/jobs/${job.id()}`));
    await step('stop', () => job.stop());
    await step('status, stopped', () => job.status());
    await step('wait for what can not come', () => reached('running'));
    await step('workers, stopped', () => job.workers());
    await step('pause, stopped', () => job.pause());
    await step('slicer, stopped', () => job.slicer());
    await step('start again, stopped', () => job.start());
    await step('stop without waiting', () => job.stop({ blocking: false }));
    await step('wait for stopped', () => reached('stopped'));
    await step('recover', () => job.recover());
    await step('wait for running, recovered', () => reached('running'));
    await step('stop by force', () => job.stop({ force: true }));
    return job;
}

async function failAndRecover(client) {
    const job = await step('submit and start', () => client.jobs.submit(failing('published failing')));
    const source = await job.ex();
    await step('wait for failed', () => job.waitForStatus('failed', 50, 30000));
    await step('errors', () => job.errors());
    await step('recover errors', async () => ({ source, answer: await job.recover({ cleanup: 'errors' }) }));
    await step('wait for failed, recovered', () => job.waitForStatus('failed', 50, 30000));
    await step('recovered execution', () => client.jobs.get(`/jobs/${job.id()}/ex`));
    await step('update', () => client.jobs.put(`/jobs/${job.id()}`, short('published mended')));
    await step('start, mended', () => job.start());
    await step('wait for completed', () => job.waitForStatus('completed', 50, 30000));
    await step('stop, completed', () => job.stop());
    await step('recover with nonsense', () => job.recover({ cleanup: 'nonsense' }));
}

async function keepBundles(client, zip) {
    const { asset_id: id } = await step('upload', () => client.assets.post(fs.createReadStream(zip), true));
    await step('upload again', () => client.assets.post(fs.readFileSync(zip), true));
    await step('upload no zip', () => client.assets.post(Buffer.from('no zip at all'), true));
    await step('txt assets', () => client.cluster.txt('assets'));
    const job = await step('submit with a bundle', () => client.jobs.submit({
        ...short('published bundled'),
        assets: ['shouts:^1.0.0'],
        operations: [{ _op: 'count', size: 3 }, { _op: 'shout' }],
    }));
    await step('wait for completed, bundled', () => job.waitForStatus('completed', 50, 30000));
    await step('job with an unknown bundle', () => client.jobs.submit({ ...short('bad'), assets: ['zz'] }));
    await step('delete needed bundle', () => client.assets.delete(id, true));
    await step('delete bundled job', () => client.jobs.delete(`/jobs/${job.id()}`));
    await step('delete bundle', () => client.assets.delete(id, true));
    await step('delete bundle again', () => client.assets.delete(id, true));
    await step('delete what is no bundle', () => client.assets.delete('abc', true));
}

async function fail(client, job) {
    await step('no such job', () => client.jobs.wrap('no-such-job').spec());
    await step('no such execution', () => client.jobs.wrap('no-such-job').status());
    await step('invalid job', () => client.jobs.submit({ ...short('bad'), workers: 0 }));
    await step('empty job', () => client.jobs.submit({}));
    await step('job with an id', () => client.jobs.submit({ ...short('bad'), job_id: 'mine' }));
    await step('delete', () => client.jobs.delete(`/jobs/${job.id()}`));
    await step('delete again', () => client.jobs.delete(`/jobs/${job.id()}`));
    await step('start, deleted', () => job.start());
}

async function main() {
    const client = createClient({ host: process.argv[2] });
    await readCluster(client);
    const job = await liveOneJob(client);
    await failAndRecover(client);
    await keepBundles(client, process.argv[3]);
    await fail(client, job);
}

main();
