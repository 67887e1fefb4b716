// A whole life of jobs by the requests of the newest client: node current.mjs URL

import { ask, askText, get, post, table } from './http.mjs';
import steps from './steps.cjs';

const { step, until, endless, failing, short } = steps;

const submit = (json, start) => ask('POST', 'jobs', { json, searchParams: { start } });

async function waitFor(path, target) {
    return until(`${path} is ${target}`, async () => {
        const found = await get(path);
        return found._status;
    }, (status) => status === target);
}

async function readCluster() {
    await step('info', () => get(''));
    await step('state', () => get('cluster/state'));
    await step('stats', () => get('cluster/stats'));
    await step('controllers, idle', () => get('cluster/controllers'));
    for (const name of ['slicers', 'controllers', 'ex', 'jobs', 'nodes', 'workers']) {
        await step(`txt ${name}`, () => table(name));
    }
}

async function liveOneJob() {
    const { job_id: jobId } = await step('submit', () => submit(endless('current'), false));
    const job = `jobs/${jobId}`;
    await step('start', () => post(`${job}/_start`));
    await step('start again', () => post(`${job}/_start`));
    await step('wait for running', () => waitFor(`${job}/ex`, 'running'));
    const { ex_id: exId } = await get(`${job}/ex`);
    const ex = `ex/${exId}`;
    await step('wait for running, by execution', () => waitFor(ex, 'running'));
    await step('list jobs', () => get('jobs', { deleted: false, active: true }));
    await step('list executions', async () => ({ exId, found: await get('ex', { status: 'running,failing', deleted: false }) }));
    await step('list all executions', async () => ({ exId, found: await get('ex', { status: '', deleted: false }) }));
    await step('controller', () => until('it is there', () => get(`${job}/controller`), (found) => found.length === 1));
    await step('slicer', () => get(`${ex}/slicer`));
    await step('controllers', () => get('cluster/controllers'));
    await step('workers as text', () => askText('POST', `${ex}/_workers`, { searchParams: { add: 1 } }).then(JSON.parse));
    await step('pause', () => post(`${ex}/_pause`));
    await step('resume', () => post(`${job}/_resume`));
    await step('stop', () => post(`${job}/_stop`, { blocking: true }));
    await step('stop again', () => post(`${ex}/_stop`, { blocking: false }));
    await step('recover all', async () => ({ exId, answer: await post(`${job}/_recover`, { cleanup: 'all' }) }));
    await step('stop by force', () => post(`${job}/_stop`, { force: true }));
    await step('recover', () => post(`${ex}/_recover`));
    await step('stop the last', () => post(`${job}/_stop`));
    return job;
}

async function submitExecution() {
    const answer = await step('submit execution', () => submit(failing('current failing'), true));
    const ex = `ex/${answer.ex_id}`;
    await step('wait for failed', () => waitFor(ex, 'failed'));
    await step('errors', () => get(`${ex}/errors`, { size: 1, from: 1, sort: 'slicer_order:asc' }));
    await step('errors of the job', () => get(`jobs/${answer.job_id}/errors`));
    await step('errors of all', async () => ({ exId: answer.ex_id, found: await get('ex/errors') }));
}

async function changeJob(job) {
    const spec = await get(job);
    const changed = { ...short('current changed') };
    await step('update', () => ask('PUT', job, { json: changed }));
    await step('update in part', async () => ask('PUT', job, { json: { ...await get(job), name: 'in part' } }));
    await step('update with nonsense', () => ask('PUT', job, { json: { ...changed, workers: 'many' } }));
    await step('delete', () => ask('DELETE', job));
    await step('delete again', () => ask('DELETE', job));
    await step('read deleted', async () => ({ spec, found: await get(job) }));
    await step('no such job', () => get('jobs/no-such-job'));
    await step('no such execution', () => get('jobs/no-such-job/ex'));
    await step('no such path', () => get('no/such/path'));
}

await readCluster();
const job = await liveOneJob();
await submitExecution();
await changeJob(job);
